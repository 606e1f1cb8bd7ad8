#pragma once

// Listener: the port that clients connect to. Accepts by itself and hands each
// connection over as a socket, so that it is known on which one a call came:
// answers that leave together then do so in one piece (ready_answers.h).

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/segment.h"

namespace zerohop {

class Listener {
 public:
  // The socket is the callee's from then on.
  using OnConnection = std::function<void(int socket)>;

  // On all addresses of `host`, a name or an address; who is told any address of IPv4 may come by IPv6, too.
  // `port` 0: any free one. Clients may connect from here on, and wait.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const std::string& host, int port);
  ~Listener();

  int port() const { return port_; }
  // Once; on a thread of the listener's, until it goes.
  void Start(OnConnection on_connection);

 private:
  Listener() = default;
  void Run();
  bool AcceptAll(int door) const;

  int port_ = 0;
  std::vector<UniqueFd> doors_;  // one for each address
  UniqueFd stop_;                // an eventfd
  OnConnection on_connection_;
  std::thread thread_;
};

}  // namespace zerohop

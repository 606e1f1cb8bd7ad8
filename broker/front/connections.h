#pragma once

// Connections: which socket a peer is connected by. gRPC tells of a call the
// address of its peer alone, and takes sockets that we accepted (listener.h).
// Any thread.

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace zerohop {

class Connections {
 public:
  // Before gRPC gets the socket. One that had the number before is no more.
  void Add(int socket);
  // `peer`: as grpc::ServerContext::peer() says. -1: of no connection of ours. It may have ended by now, and
  // the number be another's.
  int Find(std::string_view peer) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // looked up without a string of its own
  };

  mutable std::mutex mutex_;
  std::unordered_map<std::string, int, Hash, std::equal_to<>> sockets_;  // by peer
  std::vector<std::string> peers_;                                       // by socket
};

}  // namespace zerohop

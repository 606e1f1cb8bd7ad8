#pragma once

// ControlChannel: one end of the control socket, a packet socket that carries
// control messages and, with them, descriptors (SCM_RIGHTS). Made as a pair for
// a replica that the broker spawns; connected by a replica that attaches.
// Its end of file is, beside the pidfd, the only proof that the peer is gone.
// Not thread-safe; each end belongs to one thread.

#include <sys/un.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/control_message.h"
#include "shm/segment.h"

namespace zerohop {

// The descriptor of the control socket in a process that the broker spawned.
inline constexpr int kControlFd = 3;

// InvalidArgument where the path does not fit into an address.
absl::StatusOr<sockaddr_un> AddressOf(const std::string& path);

struct ControlPacket {
  ControlMessage message;
  std::vector<UniqueFd> fds;
};

class ControlChannel {
 public:
  ControlChannel() = default;
  explicit ControlChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  // Two connected ends, closed on exec.
  static absl::StatusOr<std::pair<ControlChannel, ControlChannel>> MakePair();

  // The replica's end of the socket that a broker listens on. Unavailable: no
  // broker is there now; another code: none can be reached there.
  static absl::StatusOr<ControlChannel> Connect(const std::string& path);

  // Never blocks: Unavailable when the peer is gone or does not read.
  absl::Status Send(const ControlMessage& message, const std::vector<int>& fds = {});

  // Unavailable: the peer has closed its end. DeadlineExceeded: nothing to read,
  // unless `block`. InvalidArgument: the peer sent something else than a message.
  absl::StatusOr<ControlPacket> Receive(bool block);

  int fd() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

 private:
  UniqueFd socket_;
};

}  // namespace zerohop

#pragma once

// ControlChannel: one end of the control socket, a packet socket that carries
// control messages and, with them, descriptors (SCM_RIGHTS).
// Its end of file is, beside the pidfd, the only proof that the peer is gone.
// Not thread-safe; each end belongs to one thread.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/control_message.h"
#include "shm/segment.h"

namespace zerohop {

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

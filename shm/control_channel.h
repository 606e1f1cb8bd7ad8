#pragma once

// ControlChannel: one end of the control socket between broker and replica:
// control messages and, with them, the descriptors of the lane. Made as a pair
// for a replica that the broker spawns; connected by a replica that attaches.
// Not thread-safe; each end belongs to one thread.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/control_message.h"
#include "shm/packet_socket.h"
#include "shm/segment.h"

namespace zerohop {

// The descriptor of the control socket in a process that the broker spawned.
inline constexpr int kControlFd = 3;

struct ControlPacket {
  ControlMessage message;
  std::vector<UniqueFd> fds;
};

class ControlChannel {
 public:
  ControlChannel() = default;
  explicit ControlChannel(PacketSocket socket) : socket_(std::move(socket)) {}
  explicit ControlChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  // As those of PacketSocket.
  static absl::StatusOr<std::pair<ControlChannel, ControlChannel>> MakePair();
  static absl::StatusOr<ControlChannel> Connect(const std::string& path);
  absl::StatusOr<PeerProcess> Peer() const { return socket_.Peer(); }

  // Never blocks: Unavailable when the peer is gone or does not read.
  absl::Status Send(const ControlMessage& message, const std::vector<int>& fds = {});

  // Unavailable: the peer has closed its end. DeadlineExceeded: nothing to read,
  // unless `block`. InvalidArgument: the peer sent something else than a message.
  absl::StatusOr<ControlPacket> Receive(bool block);

  int fd() const { return socket_.fd(); }
  void Close() { socket_.Close(); }

 private:
  PacketSocket socket_;
};

}  // namespace zerohop

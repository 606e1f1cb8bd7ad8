#include "shm/control_channel.h"

namespace zerohop {

absl::StatusOr<std::pair<ControlChannel, ControlChannel>> ControlChannel::MakePair() {
  auto ends = PacketSocket::MakePair();
  if (!ends.ok()) return ends.status();
  return std::make_pair(ControlChannel(std::move(ends->first)), ControlChannel(std::move(ends->second)));
}

absl::StatusOr<ControlChannel> ControlChannel::Connect(const std::string& path) {
  auto socket = PacketSocket::Connect(path);
  if (!socket.ok()) return socket.status();
  return ControlChannel(*std::move(socket));
}

absl::Status ControlChannel::Send(const ControlMessage& message, const std::vector<int>& fds) {
  const absl::Status sent = socket_.Send(Encode(message), fds, Waiting::kNever);
  return sent.ok() ? sent : absl::UnavailableError("control socket: " + std::string(sent.message()));
}

absl::StatusOr<ControlPacket> ControlChannel::Receive(bool block) {
  auto packet = socket_.Receive(kMaxControlMessageBytes, block ? Waiting::kUntilDone : Waiting::kNever);
  if (!packet.ok()) return packet.status();
  auto message = Decode(packet->bytes);
  if (!message.ok()) return message.status();
  return ControlPacket{*std::move(message), std::move(packet->fds)};
}

}  // namespace zerohop

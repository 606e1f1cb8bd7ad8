#include "shm/control_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace zerohop {
namespace {

constexpr size_t kMaxFds = 4;

// Takes ownership of every descriptor that came with a packet.
std::vector<UniqueFd> TakeFds(msghdr* header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(header); c != nullptr; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError("control socket: expected a path of 1 to " +
                                      std::to_string(sizeof address.sun_path - 1) + " bytes, got '" + path +
                                      "'");
  }
  path.copy(address.sun_path, path.size());
  return address;
}

absl::StatusOr<std::pair<ControlChannel, ControlChannel>> ControlChannel::MakePair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ResourceExhaustedError(std::string("cannot make a control socket: ") + std::strerror(errno));
  }
  return std::make_pair(ControlChannel(UniqueFd(ends[0])), ControlChannel(UniqueFd(ends[1])));
}

absl::StatusOr<ControlChannel> ControlChannel::Connect(const std::string& path) {
  auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket)
    return absl::ResourceExhaustedError(std::string("cannot make a socket: ") + std::strerror(errno));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0) {
    return ControlChannel(std::move(socket));
  }
  const std::string why = "cannot connect to " + path + ": " + std::strerror(errno);
  const bool nobody_yet = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN || errno == EINTR;
  return nobody_yet ? absl::UnavailableError(why) : absl::FailedPreconditionError(why);
}

absl::Status ControlChannel::Send(const ControlMessage& message, const std::vector<int>& fds) {
  std::string bytes = Encode(message);
  iovec piece{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  if (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    return absl::UnavailableError(std::string("control socket: ") + std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::StatusOr<ControlPacket> ControlChannel::Receive(bool block) {
  std::string bytes(kMaxControlMessageBytes + 1, '\0');
  iovec piece{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | (block ? 0 : MSG_DONTWAIT));
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return absl::DeadlineExceededError("nothing to read");
  ControlPacket packet;
  if (got >= 0) packet.fds = TakeFds(&header);  // an empty packet looks like the end, and may carry some, too
  if (got <= 0) return absl::UnavailableError("the peer closed the control socket");
  auto message = Decode(std::string_view(bytes).substr(0, static_cast<size_t>(got)));
  if (!message.ok()) return message.status();
  packet.message = *std::move(message);
  return packet;
}

}  // namespace zerohop

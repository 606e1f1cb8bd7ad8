#include "shm/packet_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zerohop {
namespace {

constexpr size_t kMaxFds = 4;
constexpr int kPeerPidfd = 77;  // SO_PEERPIDFD, newer than Debian 12's headers

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

UniqueFd PeerPidfd(int socket, pid_t pid) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, kPeerPidfd, &fd, &size) == 0) return UniqueFd(fd);
  if (errno != ENOPROTOOPT) return UniqueFd();
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // before Linux 6.5
}

}  // namespace

bool PeerProcess::IsGone() const {
  pollfd exit{pidfd.get(), POLLIN, 0};
  return ::poll(&exit, 1, 0) != 0;
}

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError("socket: expected a path of 1 to " +
                                      std::to_string(sizeof address.sun_path - 1) + " bytes, got '" + path +
                                      "'");
  }
  path.copy(address.sun_path, path.size());
  return address;
}

absl::StatusOr<std::pair<PacketSocket, PacketSocket>> PacketSocket::MakePair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ResourceExhaustedError(std::string("cannot make a socket pair: ") + std::strerror(errno));
  }
  return std::make_pair(PacketSocket(UniqueFd(ends[0])), PacketSocket(UniqueFd(ends[1])));
}

absl::StatusOr<PacketSocket> PacketSocket::Connect(const std::string& path) {
  auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket)
    return absl::ResourceExhaustedError(std::string("cannot make a socket: ") + std::strerror(errno));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0) {
    return PacketSocket(std::move(socket));
  }
  const std::string why = "cannot connect to " + path + ": " + std::strerror(errno);
  const bool nobody_yet = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN || errno == EINTR;
  return nobody_yet ? absl::UnavailableError(why) : absl::FailedPreconditionError(why);
}

absl::Status PacketSocket::Send(std::string_view bytes, const std::vector<int>& fds, Waiting waiting) const {
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
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
  const int flags = MSG_NOSIGNAL | (waiting == Waiting::kNever ? MSG_DONTWAIT : 0);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_.get(), &header, flags);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return absl::OkStatus();
  const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
  const std::string why = std::string("cannot send: ") + std::strerror(errno);
  return full ? absl::ResourceExhaustedError(why) : absl::UnavailableError(why);
}

absl::StatusOr<Packet> PacketSocket::Receive(size_t most_bytes, Waiting waiting) const {
  const int flags = MSG_CMSG_CLOEXEC | (waiting == Waiting::kNever ? MSG_DONTWAIT : 0);
  // Its length first: room for the longest would be written to before each. A peer that closed its end with
  // packets of ours unread is told by an error, once, before what it had sent.
  ssize_t length;
  do {
    length = ::recv(socket_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC | flags);
  } while (length < 0 && (errno == EINTR || errno == ECONNRESET));
  if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return absl::DeadlineExceededError("nothing to read");
  Packet packet;
  packet.bytes.resize(std::min(static_cast<size_t>(std::max<ssize_t>(length, 0)), most_bytes) + 1);
  iovec piece{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket_.get(), &header, flags);
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return absl::DeadlineExceededError("nothing to read");
  if (got >= 0) packet.fds = TakeFds(&header);  // an empty packet looks like the end, and may carry some, too
  if (got <= 0) return absl::UnavailableError("the peer closed the socket");
  packet.bytes.resize(static_cast<size_t>(got));
  return packet;
}

absl::StatusOr<PeerProcess> PacketSocket::Peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 ||
      credentials.pid <= 0) {
    return absl::FailedPreconditionError("it is in a pid namespace that we cannot see into");
  }
  PeerProcess peer{credentials.pid, PeerPidfd(socket_.get(), credentials.pid)};
  if (!peer.pidfd || peer.IsGone()) return absl::UnavailableError("it was gone already");
  return peer;
}

void PacketSocket::Shutdown() const {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void PacketSocket::ShutdownWrites() const {
  ::shutdown(socket_.get(), SHUT_WR);
}

}  // namespace zerohop

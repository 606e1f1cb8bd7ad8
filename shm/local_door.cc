#include "shm/local_door.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace zerohop {
namespace {

constexpr int kMostWaiting = 256;

absl::Status Cannot(const std::string& path, const char* what) {
  return absl::FailedPreconditionError("socket " + path + ": cannot " + what + ": " + std::strerror(errno));
}

// Whether the name is free, or can be freed.
absl::Status ClearName(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return absl::OkStatus();
  if (!S_ISSOCK(found.st_mode)) {
    return absl::AlreadyExistsError("socket " + path + ": something else has that name");
  }
  const auto other = PacketSocket::Connect(path);
  if (other.ok()) return absl::AlreadyExistsError("socket " + path + ": another broker listens there");
  if (!absl::IsUnavailable(other.status())) return other.status();
  return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : Cannot(path, "remove what a broker has left");
}

}  // namespace

absl::StatusOr<LocalDoor> LocalDoor::Open(const std::string& path) {
  auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  if (absl::Status clear = ClearName(path); !clear.ok()) return clear;
  LocalDoor door;
  door.socket_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!door.socket_) return Cannot(path, "make it");
  // Before the name exists, so that nobody else can slip in.
  if (::fchmod(door.socket_.get(), 0600) != 0) return Cannot(path, "restrict it");
  if (::bind(door.socket_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return Cannot(path, "bind it");
  }
  door.path_ = path;
  if (::listen(door.socket_.get(), kMostWaiting) != 0) return Cannot(path, "listen on it");
  return door;
}

LocalDoor::~LocalDoor() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

absl::StatusOr<PacketSocket> LocalDoor::Accept() {
  UniqueFd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (peer) return PacketSocket(std::move(peer));
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
    return absl::DeadlineExceededError("nobody waits");
  }
  return absl::ResourceExhaustedError(std::string("cannot accept a connection: ") + std::strerror(errno));
}

}  // namespace zerohop

#pragma once

// LocalDoor: a socket at which processes of this host connect: replicas that
// attach, or consumers of rows on the GPU. A unix socket that only this user
// (and root) may connect to; its name is gone when this is. Owned by one thread.
//
// Nobody need be let in: who connects waits at the door until Accept.

#include <string>

#include "absl/status/statusor.h"
#include "shm/packet_socket.h"

namespace zerohop {

class LocalDoor {
 public:
  LocalDoor() = default;
  LocalDoor(LocalDoor&& other) noexcept { *this = std::move(other); }
  LocalDoor& operator=(LocalDoor&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~LocalDoor();

  // Replaces a socket that a killed broker has left; AlreadyExists where a living one listens.
  static absl::StatusOr<LocalDoor> Open(const std::string& path);

  // DeadlineExceeded: nobody waits.
  absl::StatusOr<PacketSocket> Accept();
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::string path_;
};

}  // namespace zerohop

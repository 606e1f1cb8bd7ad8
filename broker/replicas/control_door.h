#pragma once

// ControlDoor: the socket at which replicas of another's supervision attach.
// A unix socket that only this user (and root) may connect to; its name is
// gone when this is. Owned by the Supervisor's thread.
//
// Nobody is let in while no replica slot is free: who connects then waits at
// the door, warm, and takes the place of one that dies.

#include <string>

#include "absl/status/statusor.h"
#include "shm/control_channel.h"

namespace zerohop {

class ControlDoor {
 public:
  ControlDoor() = default;
  ControlDoor(ControlDoor&& other) noexcept { *this = std::move(other); }
  ControlDoor& operator=(ControlDoor&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~ControlDoor();

  // Replaces a socket that a killed broker has left; AlreadyExists where a living one listens.
  static absl::StatusOr<ControlDoor> Open(const std::string& path);

  // DeadlineExceeded: nobody waits.
  absl::StatusOr<ControlChannel> Accept();
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::string path_;
};

}  // namespace zerohop

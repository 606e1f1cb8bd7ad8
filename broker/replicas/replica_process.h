#pragma once

// ReplicaProcess: a replica's process as its broker holds it: the pidfd, the
// control socket, and, where we spawned it, the pipe with all it prints.
// Move-only; owned by the Supervisor's thread. Destruction kills a spawned one
// that still runs, and waits for it; an attached one is let go, and fences itself.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/control_channel.h"
#include "shm/segment.h"

namespace zerohop {

class ReplicaProcess {
 public:
  ReplicaProcess() = default;
  ReplicaProcess(ReplicaProcess&& other) noexcept { *this = std::move(other); }
  ReplicaProcess& operator=(ReplicaProcess&& other) noexcept;
  ~ReplicaProcess() { KillAndReap(); }

  // Starts `command`, with the peer of control() as descriptor 3. The child
  // dies with the calling thread (PR_SET_PDEATHSIG) and inherits nothing else;
  // it leads a process group, which dies with it.
  static absl::StatusOr<ReplicaProcess> Spawn(const std::vector<std::string>& command);

  // Takes the process at the other end of a connected control socket, which has
  // a parent of its own. FailedPrecondition where we could not end it if it hung.
  static absl::StatusOr<ReplicaProcess> Adopt(ControlChannel control);

  explicit operator bool() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int output_fd() const { return output_.get(); }
  void CloseOutput() { output_.Reset(); }
  ControlChannel& control() { return control_; }

  // True: our child. False: attached, its parent is another.
  bool spawned() const { return spawned_; }

  // Lets go of a process that does not end: nobody waits for it any more.
  void Abandon() { pid_ = -1; }

  void Kill();
  // After the pidfd became readable: "exit 1", "signal 9 (Killed)", or "exit" where only
  // its parent learns more. Forgets the process.
  std::string Reap();

 private:
  void KillAndReap();

  pid_t pid_ = -1;
  bool spawned_ = false;
  UniqueFd pidfd_;
  UniqueFd output_;
  ControlChannel control_;
};

}  // namespace zerohop

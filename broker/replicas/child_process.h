#pragma once

// ChildProcess: a replica process that we started: its pidfd, its control
// socket and the pipe with all it prints. Move-only; owned by the Supervisor's
// thread. Destruction kills what still runs, and waits for it.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/control_channel.h"
#include "shm/segment.h"

namespace zerohop {

class ChildProcess {
 public:
  ChildProcess() = default;
  ChildProcess(ChildProcess&& other) noexcept { *this = std::move(other); }
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess() { KillAndReap(); }

  // Starts `command`, with the peer of control() as descriptor 3. The child
  // dies with the calling thread (PR_SET_PDEATHSIG) and inherits nothing else.
  static absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& command);

  explicit operator bool() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int output_fd() const { return output_.get(); }
  void CloseOutput() { output_.Reset(); }
  ControlChannel& control() { return control_; }

  void Kill();
  // After the pidfd became readable: "exit 1", "signal 9 (Killed)". Forgets the process.
  std::string Reap();

 private:
  void KillAndReap();

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd output_;
  ControlChannel control_;
};

}  // namespace zerohop

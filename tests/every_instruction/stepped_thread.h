#pragma once

// SteppedThread: a thread of a child process, run one instruction at a time,
// or up to an instruction (ptrace). All calls on the thread that took hold of
// it, because the kernel takes them from no other. The kernel kills the child
// should the test end first. For x86-64, whose debug registers RunTo uses.

#include <sched.h>
#include <sys/types.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zerohop {

class SteppedThread {
 public:
  // Takes hold; the thread runs on. PermissionDenied where the system allows no ptrace.
  static absl::StatusOr<SteppedThread> Seize(pid_t thread);
  SteppedThread(SteppedThread&& other) noexcept;
  ~SteppedThread();

  // Stops it wherever it is. A system call that it sleeps in is begun anew when it goes on.
  absl::Status Stop();
  absl::Status Continue();

  // While it is stopped:
  // Runs one instruction; a system call is one.
  absl::Status Step();
  // Runs to the first of two instructions that it comes to; says at which it is.
  absl::StatusOr<uint64_t> RunTo(uint64_t address, uint64_t or_address);
  // Address of the instruction that comes next.
  absl::StatusOr<uint64_t> Position() const;

 private:
  SteppedThread(pid_t thread, const cpu_set_t& our_cpus) : thread_(thread), our_cpus_(our_cpus) {}
  absl::Status SetDebugRegister(int index, uint64_t value);
  absl::Status GoOnUntilTrap(int request);
  absl::Status AwaitStop(int* status);

  pid_t thread_;
  cpu_set_t our_cpus_;  // of the caller, before it moved to the one that it shares with the thread
};

}  // namespace zerohop

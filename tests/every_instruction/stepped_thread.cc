#include "tests/every_instruction/stepped_thread.h"

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

namespace zerohop {
namespace {

constexpr pid_t kNoThread = -1;
// Debug register 7: stop before the instructions whose addresses are in registers 0 and 1.
constexpr uint64_t kStopAtBoth = 0b0101;
constexpr int kControl = 7;

absl::Status Problem(const char* what) {
  const int error = errno;
  const std::string reason = std::string("cannot ") + what + " a thread by ptrace: " + std::strerror(error);
  if (error != EPERM) return absl::InternalError(reason);
  return absl::PermissionDeniedError(
      reason + "; this test traces its own children, and the system (seccomp, ptrace_scope) forbids it");
}

}  // namespace

absl::StatusOr<SteppedThread> SteppedThread::Seize(pid_t thread) {
  if (::ptrace(PTRACE_SEIZE, thread, nullptr, PTRACE_O_EXITKILL) != 0) return Problem("take hold of");
  cpu_set_t our_cpus, one;
  CPU_ZERO(&our_cpus);
  ::sched_getaffinity(0, sizeof our_cpus, &our_cpus);
  // Both on one CPU: a step is then a switch from one to the other, and wakes no sleeping core. Where that is
  // refused, steps take longer.
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  (void)::sched_setaffinity(0, sizeof one, &one);
  (void)::sched_setaffinity(thread, sizeof one, &one);
  return SteppedThread(thread, our_cpus);
}

SteppedThread::SteppedThread(SteppedThread&& other) noexcept
    : thread_(std::exchange(other.thread_, kNoThread)), our_cpus_(other.our_cpus_) {}

SteppedThread::~SteppedThread() {
  if (thread_ != kNoThread) (void)::sched_setaffinity(0, sizeof our_cpus_, &our_cpus_);
}

absl::Status SteppedThread::Stop() {
  if (::ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) != 0) return Problem("stop");
  int status;
  return AwaitStop(&status);
}

absl::Status SteppedThread::Continue() {
  return ::ptrace(PTRACE_CONT, thread_, nullptr, nullptr) == 0 ? absl::OkStatus() : Problem("continue");
}

absl::Status SteppedThread::Step() {
  return GoOnUntilTrap(PTRACE_SINGLESTEP);
}

absl::StatusOr<uint64_t> SteppedThread::RunTo(uint64_t address, uint64_t or_address) {
  absl::Status status = SetDebugRegister(0, address);
  if (status.ok()) status = SetDebugRegister(1, or_address);
  if (status.ok()) status = SetDebugRegister(kControl, kStopAtBoth);
  if (status.ok()) status = GoOnUntilTrap(PTRACE_CONT);
  if (status.ok()) status = SetDebugRegister(kControl, 0);
  if (!status.ok()) return status;
  return Position();
}

absl::StatusOr<uint64_t> SteppedThread::Position() const {
  errno = 0;
  const long address = ::ptrace(PTRACE_PEEKUSER, thread_, offsetof(user, regs.rip), nullptr);
  if (errno != 0) return Problem("look at");
  return static_cast<uint64_t>(address);
}

absl::Status SteppedThread::SetDebugRegister(int index, uint64_t value) {
  const size_t place = offsetof(user, u_debugreg) + static_cast<size_t>(index) * sizeof(user::u_debugreg[0]);
  return ::ptrace(PTRACE_POKEUSER, thread_, place, value) == 0 ? absl::OkStatus()
                                                               : Problem("set a breakpoint in");
}

absl::Status SteppedThread::GoOnUntilTrap(int request) {
  for (int signal = 0;;) {
    if (::ptrace(static_cast<__ptrace_request>(request), thread_, nullptr, signal) != 0)
      return Problem("step");
    int status;
    if (absl::Status stopped = AwaitStop(&status); !stopped.ok()) return stopped;
    const bool event = status >> 16 != 0;
    if (!event && WSTOPSIG(status) == SIGTRAP) return absl::OkStatus();
    signal = event ? 0 : WSTOPSIG(status);  // a signal of its own: it shall have it
  }
}

absl::Status SteppedThread::AwaitStop(int* status) {
  pid_t got;
  do {
    got = ::waitpid(thread_, status, __WALL);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Problem("wait for");
  if (WIFSTOPPED(*status)) return absl::OkStatus();
  return absl::InternalError(WIFSIGNALED(*status)
                                 ? "the thread died by signal " + std::to_string(WTERMSIG(*status))
                                 : "the thread ended with exit " + std::to_string(WEXITSTATUS(*status)));
}

}  // namespace zerohop

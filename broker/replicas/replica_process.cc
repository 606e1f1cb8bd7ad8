#include "broker/replicas/replica_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/status/status.h"

namespace zerohop {
namespace {

// Runs between fork and exec in a process with threads: async-signal-safe calls only.
[[noreturn]] void BecomeReplica(char* const* argv, int control, int output, pid_t broker) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);  // what the replica starts by itself is in its group, and ends with it
  if (::getppid() != broker) ::_exit(127);  // the broker died before the line above
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Moved out of the way first: either may be the number that the other wants.
  const int safe_control = ::fcntl(control, F_DUPFD, 16);
  const int safe_output = ::fcntl(output, F_DUPFD, 16);
  ::dup2(safe_output, STDOUT_FILENO);
  ::dup2(safe_output, STDERR_FILENO);
  ::dup2(safe_control, kControlFd);
  ::syscall(SYS_close_range, kControlFd + 1, ~0u, 0);
  ::execv(argv[0], argv);
  static constexpr char kMessage[] = "cannot execute the replica program\n";
  (void)!::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(127);
}

std::string Describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "exit " + std::to_string(info.si_status);
  const char* name = ::strsignal(info.si_status);
  return "signal " + std::to_string(info.si_status) + " (" + (name != nullptr ? name : "?") + ")";
}

}  // namespace

ReplicaProcess& ReplicaProcess::operator=(ReplicaProcess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    pid_ = std::exchange(other.pid_, -1);
    spawned_ = other.spawned_;
    pidfd_ = std::move(other.pidfd_);
    output_ = std::move(other.output_);
    control_ = std::move(other.control_);
  }
  return *this;
}

absl::StatusOr<ReplicaProcess> ReplicaProcess::Spawn(const std::vector<std::string>& command) {
  auto ends = ControlChannel::MakePair();
  if (!ends.ok()) return ends.status();
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError(std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  UniqueFd read_end(pipe_ends[0]), write_end(pipe_ends[1]);
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  const pid_t broker = ::getpid();
  ReplicaProcess child;
  child.spawned_ = true;
  child.pid_ = ::fork();
  if (child.pid_ == 0) BecomeReplica(argv.data(), ends->second.fd(), write_end.get(), broker);
  if (child.pid_ < 0)
    return absl::ResourceExhaustedError(std::string("cannot fork: ") + std::strerror(errno));
  // Not reaped yet, so the pid cannot have been given to another process.
  child.pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  if (!child.pidfd_) return absl::InternalError(std::string("cannot open a pidfd: ") + std::strerror(errno));
  child.output_ = std::move(read_end);
  child.control_ = std::move(ends->first);
  return child;
}

absl::StatusOr<ReplicaProcess> ReplicaProcess::Adopt(ControlChannel control) {
  auto peer = control.Peer();
  if (!peer.ok()) {
    return absl::Status(peer.status().code(), "a replica attached: " + std::string(peer.status().message()));
  }
  ReplicaProcess process;
  process.pidfd_ = std::move(peer->pidfd);
  if (::syscall(SYS_pidfd_send_signal, process.pidfd_.get(), 0, nullptr, 0) != 0 && errno == EPERM) {
    return absl::FailedPreconditionError("replica process " + std::to_string(peer->pid) +
                                         " belongs to another user: expected one that the broker may kill");
  }
  process.pid_ = peer->pid;
  process.control_ = std::move(control);
  return process;
}

void ReplicaProcess::Kill() {
  if (pid_ > 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

std::string ReplicaProcess::Reap() {
  if (!spawned_) {
    pid_ = -1;
    return "exit";
  }
  // Helpers that it has left behind; not waited for yet, so its number cannot be another group's.
  ::kill(-pid_, SIGKILL);
  siginfo_t info{};
  int failed;
  do {
    failed = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
  } while (failed != 0 && errno == EINTR);
  pid_ = -1;
  if (failed != 0) return "unknown end";  // someone else has reaped it
  return Describe(info);
}

void ReplicaProcess::KillAndReap() {
  if (pid_ <= 0 || !spawned_) return;
  Kill();
  Reap();
}

}  // namespace zerohop

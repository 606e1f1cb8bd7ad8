#include "replica_shim/group_guard.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "shm/segment.h"

namespace zerohop {
namespace {

// In the child of a process that may have threads: async-signal-safe calls only.
[[noreturn]] void Guard(int replica) {
  ::prctl(PR_SET_NAME, "zerohop-guard");
  ::prctl(PR_SET_PDEATHSIG, 0);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_IGN);
  // Nobody shall wait for an end of file that we hold back.
  ::dup2(replica, 0);
  ::syscall(SYS_close_range, 1u, ~0u, 0);
  pollfd ended{0, POLLIN, 0};
  while (::poll(&ended, 1, -1) < 1) {
  }
  ::kill(0, SIGKILL);  // the group, and this process, which has kept its number from others
  ::_exit(0);
}

}  // namespace

void GuardProcessGroup() {
  if (::getpgrp() != ::getpid()) return;
  const UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!self) return;
  if (::fork() == 0) Guard(self.get());
}

}  // namespace zerohop

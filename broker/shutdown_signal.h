#pragma once

// ShutdownSignal: what ends a running server: SIGINT, SIGTERM, or a reason
// given by one of its parts. Make it before any thread, so that all threads
// inherit the blocked signals and only Wait receives them.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <csignal>
#include <mutex>
#include <string>

#include "shm/segment.h"

namespace zerohop {

class ShutdownSignal {
 public:
  ShutdownSignal() : asked_(::eventfd(0, EFD_CLOEXEC)) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC));
  }

  // Any thread.
  void Ask(const std::string& reason) {
    std::lock_guard lock(mutex_);
    if (reason_.empty()) reason_ = reason;
    ::eventfd_write(asked_.get(), 1);
  }

  // Blocks. Returns the reason that was asked with; empty after a signal.
  // Signals stay blocked: one that is sent twice, to a group say, must not cut
  // the drain short, which has a time limit of its own.
  std::string Wait() {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {asked_.get(), POLLIN, 0}};
    while (::poll(fds, 2, -1) <= 0) {
    }
    std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  UniqueFd signals_;
  UniqueFd asked_;
  std::mutex mutex_;
  std::string reason_;
};

}  // namespace zerohop

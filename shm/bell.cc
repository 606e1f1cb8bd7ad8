#include "shm/bell.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>
#include <fstream>
#include <string>

namespace zerohop {
namespace {

void FutexWake(const std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, std::chrono::nanoseconds at_most) {
  timespec timeout{};
  timeout.tv_sec = at_most.count() / 1'000'000'000;
  timeout.tv_nsec = at_most.count() % 1'000'000'000;
  // Not FUTEX_PRIVATE: the word is shared between processes. Every way it returns means 'look again'.
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

// Tells the core that we spin.
void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True when `word` has left `value` before `until`. A peek: callers load again with order.
bool SpinWhile(const std::atomic<uint32_t>& word, uint32_t value,
               std::chrono::steady_clock::time_point until) {
  do {
    for (int i = 0; i < 16; ++i) {
      // A peek, see above.
      if (word.load(std::memory_order_relaxed) != value) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

// Whole CPUs that the cgroup's quota grants, or `otherwise` where there is no quota.
int CgroupCpus(int otherwise) {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::max(1, static_cast<int>(std::stod(quota) / period));
  }
  return otherwise;
}

}  // namespace

void BellRinger::Ring() const {
  // EDGE(bell) seq_cst, acq_rel within: what was published before is seen by whoever sees the bump.
  rings_->fetch_add(1, std::memory_order_seq_cst);
  // EDGE(asleep) seq_cst: ordered after the bump; sees the flag of any sleeper that missed it.
  if (sleeping_->load(std::memory_order_seq_cst) == kAsleep) FutexWake(rings_);
}

void BellSleeper::Wait(std::chrono::nanoseconds at_most, bool may_spin) {
  const auto begin = std::chrono::steady_clock::now();
  const auto spin = may_spin ? spin_.budget() : std::chrono::nanoseconds(0);
  if (!SpinWhile(*rings_, answered_, begin + spin)) {
    // EDGE(asleep) seq_cst: ringers that bump after our load below see this flag.
    sleeping_->store(kAsleep, std::memory_order_seq_cst);
    // EDGE(bell) seq_cst: sees every bump whose ringer did not see the flag.
    if (rings_->load(std::memory_order_seq_cst) == answered_) FutexWait(rings_, answered_, at_most);
    // EDGE(awake) relaxed: a ringer that still sees kAsleep makes one needless system call.
    sleeping_->store(kAwake, std::memory_order_relaxed);
  }
  spin_.Record(std::chrono::steady_clock::now() - begin);
  // EDGE(bell) acquire: what was published before the rings we count is seen by the look that follows.
  answered_ = rings_->load(std::memory_order_acquire);
}

bool BellAttendant::Attend(std::chrono::nanoseconds at_most) {
  uint32_t state = kAsleep;
  // EDGE(attend) seq_cst: a ringer whose bump we do not see below sees the sleeper attended, and leaves it to
  // us.
  if (!sleeping_->compare_exchange_strong(state, kAttended, std::memory_order_seq_cst)) return false;
  const uint32_t before = rings_->load(std::memory_order_relaxed);  // a peek; the look orders itself
  (void)SpinWhile(*rings_, before, std::chrono::steady_clock::now() + at_most);
  state = kAttended;
  // EDGE(attend) seq_cst: rings from here on wake the sleeper; those before are seen by the look that
  // follows.
  sleeping_->compare_exchange_strong(state, kAsleep, std::memory_order_seq_cst);
  return true;
}

int UsableCpus() {
  cpu_set_t set;
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  return std::min(cpus, CgroupCpus(cpus));
}

}  // namespace zerohop

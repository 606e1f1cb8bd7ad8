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

// Which of the two that may sleep on a bell's word is meant, as a futex bit set.
enum Who : uint32_t { kSleeper = 1, kAttendant = 2 };

// Not FUTEX_PRIVATE: the word is shared between processes.
void FutexWake(const std::atomic<uint32_t>* word, Who who) {
  syscall(SYS_futex, word, FUTEX_WAKE_BITSET, INT_MAX, nullptr, nullptr, who);
}

// Until `deadline`, CLOCK_MONOTONIC. Every way it returns means 'look again'.
void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
               std::chrono::steady_clock::time_point deadline, Who who) {
  const auto at = std::chrono::nanoseconds(deadline.time_since_epoch()).count();
  timespec until{};
  until.tv_sec = at / 1'000'000'000;
  until.tv_nsec = at % 1'000'000'000;
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, nullptr, who);
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
  const uint32_t state = sleeping_->load(std::memory_order_seq_cst);
  if (state == kAsleep) FutexWake(rings_, kSleeper);
  if (state == kAttendantAsleep) FutexWake(rings_, kAttendant);
}

void BellSleeper::Wait(std::chrono::nanoseconds at_most, bool may_spin) {
  // A peek: loaded again with order below.
  Wait(at_most, may_spin, [this] { return rings_->load(std::memory_order_relaxed) != answered_; });
  // EDGE(bell) acquire: what was published before the rings we count is seen by the look that follows.
  answered_ = rings_->load(std::memory_order_acquire);
}

void BellSleeper::Sleep(std::chrono::nanoseconds at_most, std::chrono::nanoseconds spun) {
  const auto begin = std::chrono::steady_clock::now();
  // EDGE(asleep) seq_cst: ringers that bump after our load below see this flag.
  sleeping_->store(kAsleep, std::memory_order_seq_cst);
  // EDGE(bell) seq_cst: sees every bump whose ringer did not see the flag.
  if (rings_->load(std::memory_order_seq_cst) == answered_) {
    FutexWait(rings_, answered_, begin + at_most, kSleeper);
  }
  // EDGE(awake) relaxed: a ringer that still sees kAsleep makes one needless system call.
  sleeping_->store(kAwake, std::memory_order_relaxed);
  const auto slept = std::chrono::steady_clock::now() - begin;
  spin_.Record(spun + slept);
  // EDGE(bell) acquire: what was published before the rings we count is seen by the look that follows.
  answered_ = rings_->load(std::memory_order_acquire);
}

bool BellAttendant::Come() {
  // A peek: Wait exchanges, and finds out.
  if (here_ && sleeping_->load(std::memory_order_relaxed) == kAttended) return true;
  uint32_t state = kAsleep;
  // EDGE(attend) seq_cst: ringers that see it leave their bumps to us; we load those of all others below.
  here_ = sleeping_->compare_exchange_strong(state, kAttended, std::memory_order_seq_cst);
  return here_;
}

BellAttendant::Waited BellAttendant::Wait(std::chrono::nanoseconds at_most, std::chrono::nanoseconds spin) {
  // A peek: the look that follows orders itself.
  const auto has_rung = [this] { return rings_->load(std::memory_order_relaxed) != answered_; };
  const Spun spun = SpinUntil(has_rung, spin);
  bool rang = spun.seen;
  if (!rang) {
    uint32_t state = kAttended;
    // EDGE(attend) seq_cst: ringers that bump after our load below see that we must be woken.
    here_ = sleeping_->compare_exchange_strong(state, kAttendantAsleep, std::memory_order_seq_cst);
    if (!here_) return Waited::kNoLonger;
    // EDGE(bell) seq_cst: sees every bump whose ringer did not see the state.
    if (rings_->load(std::memory_order_seq_cst) == answered_) {
      FutexWait(rings_, answered_, std::chrono::steady_clock::now() + at_most - spun.took, kAttendant);
    }
    state = kAttendantAsleep;
    // EDGE(attend) seq_cst: we look by ourselves again.
    here_ = sleeping_->compare_exchange_strong(state, kAttended, std::memory_order_seq_cst);
    rang = has_rung();
  }
  if (!here_) return Waited::kNoLonger;
  return rang ? Waited::kRang : Waited::kInVain;
}

void BellAttendant::Looking() {
  // EDGE(bell) acquire: what was published before the rings we count is seen by the look that follows.
  answered_ = rings_->load(std::memory_order_acquire);
}

void BellAttendant::Go() {
  uint32_t state = kAttended;
  // EDGE(attend) seq_cst: rings from here on wake the sleeper; those before are seen by the look that
  // follows.
  if (here_) sleeping_->compare_exchange_strong(state, kAsleep, std::memory_order_seq_cst);
  here_ = false;
  // EDGE(bell) seq_cst: sees the bump of every ringer that found us here, and so what it published.
  answered_ = rings_->load(std::memory_order_seq_cst);
}

int UsableCpus() {
  cpu_set_t set;
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  return std::min(cpus, CgroupCpus(cpus));
}

}  // namespace zerohop

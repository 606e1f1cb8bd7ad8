#include "broker/replicas/lifeline_watch.h"

#include <linux/futex.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace zerohop {
namespace {

futex_waitv WaitOn(const std::atomic<uint32_t>* word, uint32_t value) {
  futex_waitv wait{};
  wait.uaddr = reinterpret_cast<uintptr_t>(word);
  wait.val = value;
  wait.flags = FUTEX_32;
  return wait;
}

}  // namespace

LifelineWatch::LifelineWatch(OnBroken on_broken)
    : on_broken_(std::move(on_broken)), thread_([this] { Run(); }) {}

LifelineWatch::~LifelineWatch() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    Change();
  }
  thread_.join();
}

void LifelineWatch::Watch(std::shared_ptr<const BrokerLane> lane) {
  std::lock_guard lock(mutex_);
  const uint32_t replica = lane->identity().replica;
  watched_.insert_or_assign(replica, Lifeline{std::move(lane), 0});
  Change();
}

void LifelineWatch::Forget(uint32_t replica) {
  std::lock_guard lock(mutex_);
  watched_.erase(replica);
  Change();
}

// Under the lock.
void LifelineWatch::Change() {
  changes_.fetch_add(1, std::memory_order_relaxed);  // a number alone; the lock orders what changed
  ::syscall(SYS_futex, &changes_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void LifelineWatch::Run() {
  for (;;) {
    std::vector<Lifeline> whole, broken;
    uint32_t changes;
    {
      std::lock_guard lock(mutex_);
      if (stop_) return;
      changes = changes_.load(std::memory_order_relaxed);  // read under the lock
      for (auto& [replica, lifeline] : watched_) {
        if (lifeline.value == 0) lifeline.value = lifeline.lane->lifeline().value();
        if (LifelineReader::IsBroken(lifeline.value)) lifeline.value = ~lifeline.value;  // not whole
        (lifeline.IsWhole() ? whole : broken).push_back(lifeline);
      }
      for (const Lifeline& lifeline : broken) watched_.erase(lifeline.lane->identity().replica);
    }
    const Clock::time_point now = Clock::now();
    for (const Lifeline& lifeline : broken) {
      const LaneIdentity& identity = lifeline.lane->identity();
      // 0: it has let go, as one that drains does. Anything else is a death, or a lie that becomes one.
      if (lifeline.lane->lifeline().value() != 0) on_broken_(identity.replica, identity.generation, now);
    }
    if (broken.empty() && !Sleep(changes, whole)) return;
  }
}

// Until one of the words is another. False where this kernel cannot wait for several.
bool LifelineWatch::Sleep(uint32_t changes, const std::vector<Lifeline>& lifelines) const {
  std::vector<futex_waitv> waits{WaitOn(&changes_, changes)};
  for (const Lifeline& lifeline : lifelines) {
    if (waits.size() > kMostWatched) break;
    waits.push_back(WaitOn(lifeline.lane->lifeline().word(), lifeline.value));
  }
  const long woken = ::syscall(SYS_futex_waitv, waits.data(), waits.size(), 0, nullptr, 0);
  if (woken >= 0 || errno == EAGAIN || errno == EINTR) return true;
  if (errno != ENOSYS && errno != EPERM) {  // passing: out of memory, say
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return true;
  }
  spdlog::info("lifelines are not watched ({}): deaths are heard of through the pidfd alone",
               std::strerror(errno));
  return false;
}

}  // namespace zerohop

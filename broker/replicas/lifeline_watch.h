#pragma once

// LifelineWatch: one thread that sleeps until the kernel marks a lifeline word
// (shm/lifeline_word.h): the replica is dying, milliseconds before its pidfd
// says that it is gone. A hint alone: whoever is told kills the process, so
// that a word which lied becomes true.
//
// Needs futex_waitv (Linux 5.16); where it is missing, or beyond kMostWatched
// lanes, deaths are heard of through the pidfd alone.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "shm/lane.h"

namespace zerohop {

class LifelineWatch {
 public:
  using Clock = std::chrono::steady_clock;
  using OnBroken = std::function<void(uint32_t replica, uint64_t generation, Clock::time_point at)>;
  static constexpr size_t kMostWatched = 127;

  // `on_broken`: on the watch's own thread, once for each lane that is watched.
  explicit LifelineWatch(OnBroken on_broken);
  ~LifelineWatch();

  // Any thread. A replica has one lane at a time.
  void Watch(std::shared_ptr<const BrokerLane> lane);
  void Forget(uint32_t replica);

 private:
  // A lifeline is whole while it keeps its value. Once it may still go from 0 to held: the side thread
  // may be slower than the worker. From held to 0 it was let go. Any other change is a death.
  struct Lifeline {
    std::shared_ptr<const BrokerLane> lane;
    uint32_t value = 0;
    bool IsWhole() const { return lane->lifeline().value() == value; }
  };

  void Run();
  bool Sleep(uint32_t changes, const std::vector<Lifeline>& lifelines) const;
  void Change();

  const OnBroken on_broken_;
  std::atomic<uint32_t> changes_{0};      // a futex word: bumped with each change of what follows
  std::mutex mutex_;                      // the two members below
  std::map<uint32_t, Lifeline> watched_;  // by replica
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace zerohop

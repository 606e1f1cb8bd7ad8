#include "broker/replicas/lifeline_watch.h"

#include <gtest/gtest.h>

#include <condition_variable>

#include "tests/support/lane_pair.h"

namespace zerohop {
namespace {

// Who was told to be dying, in order.
class Ear {
 public:
  void Hear(uint32_t replica, uint64_t generation) {
    std::lock_guard lock(mutex_);
    heard_.emplace_back(replica, generation);
    changed_.notify_all();
  }
  std::vector<std::pair<uint32_t, uint64_t>> WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(100), [&] { return heard_.size() >= count; });
    return heard_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<uint32_t, uint64_t>> heard_;
};

// A thread's end, without the courtesy of letting go.
void BreakLifeline(const LanePair& lane) {
  alignas(LifelineHolder) static std::byte storage[sizeof(LifelineHolder)];
  std::thread([&] { new (storage) LifelineHolder(lane.replica.lifeline_word()); }).join();
}

TEST(LifelineWatch, TellsOnceWhoDies) {
  Ear ear;
  LifelineWatch watch([&](uint32_t replica, uint64_t generation, auto) { ear.Hear(replica, generation); });
  const LanePair first(SmallGeometry(), {1, 4, 0}), second(SmallGeometry(), {1, 9, 1});
  watch.Watch(first.broker);
  watch.Watch(second.broker);
  BreakLifeline(second);
  EXPECT_EQ(ear.WaitFor(1), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 9}}));
  BreakLifeline(first);
  EXPECT_EQ(ear.WaitFor(2), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 9}, {0, 4}}));
}

TEST(LifelineWatch, HearsOfWhatBrokeBeforeItWasWatched) {
  Ear ear;
  LifelineWatch watch([&](uint32_t replica, uint64_t generation, auto) { ear.Hear(replica, generation); });
  const LanePair lane(SmallGeometry(), {1, 4, 0});
  BreakLifeline(lane);
  watch.Watch(lane.broker);
  EXPECT_EQ(ear.WaitFor(1).size(), 1u);
}

TEST(LifelineWatch, MayBeHeldLaterThanItIsWatched) {
  Ear ear;
  LifelineWatch watch([&](uint32_t replica, uint64_t generation, auto) { ear.Hear(replica, generation); });
  const LanePair late(SmallGeometry(), {1, 4, 0}), dying(SmallGeometry(), {1, 5, 1});
  watch.Watch(late.broker);
  const LifelineHolder holder(late.replica.lifeline_word());
  watch.Watch(dying.broker);  // looks at all of them again
  BreakLifeline(dying);
  EXPECT_EQ(ear.WaitFor(1), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 5}})) << "and nobody else";
}

TEST(LifelineWatch, ForgottenLaneIsNotTold) {
  Ear ear;
  LifelineWatch watch([&](uint32_t replica, uint64_t generation, auto) { ear.Hear(replica, generation); });
  const LanePair forgotten(SmallGeometry(), {1, 4, 0}), other(SmallGeometry(), {1, 5, 1});
  watch.Watch(forgotten.broker);
  watch.Forget(0);
  watch.Watch(other.broker);
  BreakLifeline(forgotten);
  BreakLifeline(other);
  EXPECT_EQ(ear.WaitFor(1), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 5}}));
}

}  // namespace
}  // namespace zerohop

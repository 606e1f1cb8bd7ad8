#include "shm/spin.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace zerohop {
namespace {

using std::chrono::nanoseconds;

TEST(SpinBudget, SpinsWhileWaitsAreShortAndStopsWhenTheyAreLong) {
  SpinBudget budget(std::chrono::microseconds(50));
  EXPECT_EQ(budget.budget(), std::chrono::microseconds(50));
  for (int i = 0; i < 64; ++i) budget.Record(std::chrono::milliseconds(10));
  EXPECT_EQ(budget.budget(), nanoseconds(0));
  for (int i = 0; i < 128; ++i) budget.Record(std::chrono::microseconds(5));
  EXPECT_EQ(budget.budget(), std::chrono::microseconds(50));
}

TEST(SpinBudget, LimitOfZeroNeverSpins) {
  SpinBudget budget{nanoseconds(0)};
  EXPECT_EQ(budget.budget(), nanoseconds(0));
  for (int i = 0; i < 64; ++i) budget.Record(nanoseconds(1));
  EXPECT_EQ(budget.budget(), nanoseconds(0));
}

TEST(SpinUntil, LooksOnceWhereThereIsNoTime) {
  EXPECT_TRUE(SpinUntil([] { return true; }, nanoseconds(0)).seen);
  EXPECT_FALSE(SpinUntil([] { return false; }, nanoseconds(0)).seen);
}

TEST(SpinUntil, SpinsInVainForAllOfItsTimeAndSaysHowLong) {
  const auto begin = std::chrono::steady_clock::now();
  const Spun spun = SpinUntil([] { return false; }, std::chrono::milliseconds(2));
  EXPECT_FALSE(spun.seen);
  EXPECT_GE(spun.took, std::chrono::milliseconds(2));
  EXPECT_LE(spun.took, std::chrono::steady_clock::now() - begin);
}

TEST(SpinUntil, SeesWhatAnotherThreadDoes) {
  std::atomic<bool> come{false};
  std::thread coming([&] { come = true; });
  EXPECT_TRUE(SpinUntil([&] { return come.load(); }, std::chrono::seconds(100)).seen);
  coming.join();
}

}  // namespace
}  // namespace zerohop

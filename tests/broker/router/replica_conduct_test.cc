#include "broker/router/replica_conduct.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::seconds;
const auto kStart = ReplicaConduct::Clock::time_point() + seconds(1000);

TEST(ReplicaConduct, SilenceCountsOnlyWhileWorkIsHeld) {
  ReplicaConduct conduct(kStart);
  conduct.Look(/*shards_in_flight=*/0, /*completed=*/0, kStart + seconds(50));
  EXPECT_EQ(conduct.SilentFor(kStart + seconds(50)), seconds(0));
  conduct.Look(3, 0, kStart + seconds(60));
  EXPECT_EQ(conduct.SilentFor(kStart + seconds(60)), seconds(10)) << "since the last look without work";
}

TEST(ReplicaConduct, EachCompletionEndsTheSilence) {
  ReplicaConduct conduct(kStart);
  conduct.Look(3, 0, kStart + seconds(10));
  conduct.Look(2, 1, kStart + seconds(20));
  EXPECT_EQ(conduct.SilentFor(kStart + seconds(25)), seconds(5));
}

TEST(ReplicaConduct, FailuresCountOnlyInARow) {
  ReplicaConduct conduct;
  for (uint32_t i = 1; i < ReplicaConduct::kMostFailures; ++i) conduct.OnFailureDisproved();
  EXPECT_FALSE(conduct.FailsAlone());
  conduct.OnSuccess();
  conduct.OnFailureDisproved();
  EXPECT_FALSE(conduct.FailsAlone());
  for (uint32_t i = 1; i < ReplicaConduct::kMostFailures; ++i) conduct.OnFailureDisproved();
  EXPECT_TRUE(conduct.FailsAlone());
}

}  // namespace
}  // namespace zerohop

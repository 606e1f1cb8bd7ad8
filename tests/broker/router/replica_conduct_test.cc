#include "broker/router/replica_conduct.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::seconds;
const auto kStart = ReplicaConduct::Clock::time_point() + seconds(1000);

HeldShard Held(uint64_t position, uint32_t passes = 1) {
  return {position, 1, passes};
}

TEST(ReplicaConduct, IdleReplicaIsNeverOverdue) {
  ReplicaConduct conduct;
  conduct.Look(std::nullopt, kStart);
  EXPECT_FALSE(conduct.IsOverdue(seconds(1), kStart + seconds(1000)));
  conduct.Look(Held(0), kStart + seconds(1000));
  EXPECT_FALSE(conduct.IsOverdue(seconds(1), kStart + seconds(1001)));
}

TEST(ReplicaConduct, OldestShardHasThePassesThatItMayNeed) {
  ReplicaConduct conduct;
  conduct.Look(Held(7, /*passes=*/3), kStart);
  EXPECT_FALSE(conduct.IsOverdue(seconds(10), kStart + seconds(30)));
  EXPECT_TRUE(conduct.IsOverdue(seconds(10), kStart + seconds(31)));
}

TEST(ReplicaConduct, TimeCountsFromWhenItBecameTheOldest) {
  ReplicaConduct conduct;
  conduct.Look(Held(7), kStart);
  conduct.Look(Held(8), kStart + seconds(9));
  EXPECT_FALSE(conduct.IsOverdue(seconds(10), kStart + seconds(19)));
  EXPECT_TRUE(conduct.IsOverdue(seconds(10), kStart + seconds(20)));
}

TEST(ReplicaConduct, ForgottenShardIsNoticedWhileOthersAreCompleted) {
  ReplicaConduct conduct;
  for (int i = 0; i < 20; ++i) conduct.Look(Held(7), kStart + seconds(i));
  EXPECT_TRUE(conduct.IsOverdue(seconds(10), kStart + seconds(20)));
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

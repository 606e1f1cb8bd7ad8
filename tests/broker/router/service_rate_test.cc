#include "broker/router/service_rate.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Saturated {
  // Work waits all the time; each step so many shards of 10 tokens are finished.
  void Run(int steps, milliseconds step, int shards) {
    for (int i = 0; i < steps; ++i) {
      for (int s = 0; s < shards; ++s) rate.OnFinished(10);
      rate.Look(true, now += step);
    }
  }
  ServiceRate rate;
  ServiceRate::Clock::time_point now = ServiceRate::Clock::time_point() + seconds(1000);
};

TEST(ServiceRate, IsUnknownUntilWorkHasWaited) {
  ServiceRate rate;
  const auto now = ServiceRate::Clock::time_point() + seconds(1000);
  for (int i = 0; i < 100; ++i) {
    rate.OnFinished(10);
    rate.Look(/*waiting=*/false, now + i * seconds(1));
  }
  EXPECT_EQ(rate.TimeFor(100), std::nullopt) << "an idle house says nothing of what it could do";
}

TEST(ServiceRate, IsWhatASaturatedHouseFinishes) {
  Saturated house;
  house.Run(30, milliseconds(100), 5);  // 50 tokens each 0.1 s
  ASSERT_TRUE(house.rate.TimeFor(1000));
  EXPECT_NEAR(house.rate.TimeFor(1000)->count(), 2.0, 0.01);
}

TEST(ServiceRate, DoesNotCountTheTimeBeforeTheFirstAnswer) {
  Saturated house;
  house.Run(1, seconds(20), 0);
  house.Run(30, milliseconds(100), 5);
  EXPECT_NEAR(house.rate.TimeFor(1000)->count(), 2.0, 0.01);
}

TEST(ServiceRate, FollowsAChangeOfSpeed) {
  Saturated house;
  house.Run(30, milliseconds(100), 5);
  house.Run(100, milliseconds(100), 10);
  EXPECT_NEAR(house.rate.TimeFor(1000)->count(), 1.0, 0.01);
}

TEST(ServiceRate, IsNoHigherWhereBatchesOfTwoReplicasFinishCloselyAfterEachOther) {
  Saturated house;
  for (int i = 0; i < 50; ++i) {
    house.Run(1, milliseconds(300), 32);
    house.Run(1, milliseconds(1300), 32);
  }
  EXPECT_NEAR(house.rate.TimeFor(400)->count(), 1.0, 0.2);
}

TEST(ServiceRate, FewShardsAreNoRateYet) {
  Saturated house;
  house.Run(20, milliseconds(500), 1);
  EXPECT_EQ(house.rate.TimeFor(10), std::nullopt);
  house.Run(30, milliseconds(500), 1);
  ASSERT_TRUE(house.rate.TimeFor(10));
  EXPECT_NEAR(house.rate.TimeFor(10)->count(), 0.5, 0.01);
}

TEST(ServiceRate, KnowsNothingNewFromAHouseWhereNothingWaits) {
  Saturated house;
  house.Run(50, milliseconds(100), 5);
  for (int i = 0; i < 100; ++i) {
    house.rate.OnFinished(1);
    house.rate.Look(/*waiting=*/false, house.now += seconds(1));
  }
  EXPECT_NEAR(house.rate.TimeFor(1000)->count(), 2.0, 0.01);
}

}  // namespace
}  // namespace zerohop

// Replicas that do not die, but do not serve either: who is accused, what
// becomes of the work, and when the router refuses what would come too late.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/router/router.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::StartsWith;

TEST(RouterDoom, WorkGoesOnBeforeTheExitIsSeen) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  house.Serve(1);
  const TakenBack work = house.router().OnDoomed(0);
  EXPECT_EQ(work.requeued, 1u);
  EXPECT_EQ(work.posted, 1u);
  EXPECT_EQ(house.replica(1).AnswerAll(), 1u);
  house.Reap();
  EXPECT_EMBEDDED(call);
}

TEST(RouterDoom, WhatItCompletesAfterwardsIsNotRead) {
  RouterHouse house;
  FakeReplica& doomed = house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  const auto taken = doomed.TakeOne();
  ASSERT_TRUE(taken);
  (void)house.router().OnDoomed(0);
  doomed.Answer(*taken);  // it lives on for a moment
  house.Reap();
  EXPECT_EQ(call.answers(), 0);
  house.Die(0);
  house.Serve(0);
  EXPECT_EQ(house.replica(0).AnswerAll(), 1u);
  house.Reap();
  EXPECT_EMBEDDED(call);
}

TEST(RouterDoom, LastAttemptIsAnsweredWithTheReasonOfTheExit) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"poison"});
  for (uint32_t i = 0; i < Router::kMaxAttempts; ++i) {
    if (i > 0) house.Serve(0);
    ASSERT_TRUE(house.replica(0).TakeOne());
    (void)house.router().OnDoomed(0);
    EXPECT_EQ(call.answers(), 0) << "why it died is not known yet";
    house.Die(0, "signal 11 (Segmentation fault)");
  }
  ASSERT_EQ(call.answers(), 1);
  EXPECT_THAT(call.answer().message, HasSubstr("signal 11"));
}

TEST(RouterDoom, CondemnedRequestMayStillBeCancelled) {
  RouterHouse house;
  TestCall* call = nullptr;
  for (uint32_t i = 0; i < Router::kMaxAttempts; ++i) {
    house.Serve(0);
    if (i == 0) call = &house.Submit({"poison"});
    ASSERT_TRUE(house.replica(0).TakeOne());
    (void)house.router().OnDoomed(0);
    if (i + 1 == Router::kMaxAttempts) house.router().Cancel(*call->ticket());
    house.Die(0);
  }
  EXPECT_EQ(call->answers(), 1);
  EXPECT_EQ(call->outcome(), Outcome::kWithdrawn);
}

RouterOptions PassesOfTenSeconds() {
  RouterOptions options;
  options.step_timeout = seconds(10);
  return options;
}

TEST(RouterConduct, ReplicaThatCompletesNothingIsAccusedOnce) {
  RouterHouse house(PassesOfTenSeconds());
  house.Serve(0);
  house.Submit({"hello"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  house.Reap();
  house.Reap(seconds(9));
  EXPECT_TRUE(house.kills.empty());
  house.Reap(seconds(11));
  house.Reap(seconds(12));
  ASSERT_EQ(house.kills.size(), 1u);
  EXPECT_THAT(house.kills[0].reason, StartsWith("hang: a shard of 1 prompts is not completed"));
}

TEST(RouterConduct, ReplicaThatForgetsOneShardIsAccusedWhileItCompletesOthers) {
  RouterHouse house(PassesOfTenSeconds());
  house.Serve(0);
  house.Submit({"forgotten"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  for (int i = 1; i <= 12; ++i) {
    TestCall& call = house.Submit({"hello"});
    house.replica(0).Answer(*house.replica(0).TakeOne());
    house.Reap(seconds(i));
    EXPECT_EMBEDDED(call);
  }
  EXPECT_EQ(house.kills.size(), 1u);
}

TEST(RouterConduct, LargeShardHasTheTimeOfAllItsPasses) {
  RouterHouse house(PassesOfTenSeconds());
  house.Serve(0);
  house.Submit(NumberedPrompts(10));  // 8 in a batch, and about 12 tokens each of 64
  ASSERT_TRUE(house.replica(0).TakeOne());
  house.Reap();
  house.Reap(seconds(50));
  EXPECT_TRUE(house.kills.empty());
}

TEST(RouterConduct, SlowReplicaThatCompletesEachInTimeIsLeftAlone) {
  RouterHouse house(PassesOfTenSeconds());
  house.Serve(0);
  for (int i = 0; i < 5; ++i) house.Submit({"hello"});
  house.Reap();
  for (int i = 1; i <= 5; ++i) {
    house.replica(0).Answer(*house.replica(0).TakeOne());
    house.Reap(seconds(9 * i));
  }
  house.Reap(hours(1));
  EXPECT_TRUE(house.kills.empty()) << "and idle it may be for ever";
}

TEST(RouterConduct, ShardThatAvoidsTheIdleReplicaHoldsUpNobody) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  TestCall& failed = house.Submit({"fails once"});
  TestCall& other = house.Submit({"runs long"});
  const auto on_zero = house.replica(0).TakeOne();
  const auto on_one = house.replica(1).TakeOne();
  ASSERT_TRUE(on_zero && on_one);
  for (int i = 0; i < 60; ++i) house.Submit(NumberedPrompts(1, 250), std::to_string(i));  // fills both
  house.replica(0).Refuse(*on_zero, CompletionStatus::kFailed, "device lost");
  size_t behind = 0;
  for (size_t some = 1; some > 0; behind += some) {
    house.Reap();
    some = house.replica(0).AnswerAll();
  }
  EXPECT_GT(behind, 20u) << "the replica that failed with the first works on";
  house.replica(1).Answer(*on_one);
  house.Settle();
  EXPECT_EMBEDDED(failed);
  EXPECT_EMBEDDED(other);
}

TEST(RouterConduct, ReplicaThatWithdrawsWhatItWasNotAskedToIsGarbage) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  house.replica(0).Refuse(*house.replica(0).TakeOne(), CompletionStatus::kWithdrawn, "");
  house.Serve(1);
  house.Reap();
  ASSERT_EQ(house.kills.size(), 1u);
  EXPECT_THAT(house.kills[0].reason, StartsWith("garbage: withdrew"));
  EXPECT_EQ(house.replica(0).TakeOne(), std::nullopt) << "another is asked next";
  EXPECT_EQ(house.replica(1).AnswerAll(), 1u);
  house.Reap();
  EXPECT_EMBEDDED(call);
}

TEST(RouterConduct, ReplicaThatFailsWhatOthersCompleteIsAccused) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  for (uint32_t i = 0; i < ReplicaConduct::kMostFailures; ++i) {
    EXPECT_TRUE(house.kills.empty());
    TestCall& call = house.Submit({"hello"});
    const auto taken = house.replica(0).TakeOne();
    ASSERT_TRUE(taken);
    house.replica(0).Refuse(*taken, CompletionStatus::kFailed, "device lost");
    house.Settle();
    EXPECT_EMBEDDED(call);
  }
  house.Reap(seconds(1));
  ASSERT_EQ(house.kills.size(), 1u);
  EXPECT_EQ(house.kills[0].replica, 0u);
  EXPECT_THAT(house.kills[0].reason, StartsWith("fails: 8 times in a row"));
}

TEST(RouterConduct, RequestThatEveryEngineFailsAccusesNobody) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  for (int i = 0; i < 50; ++i) {
    TestCall& call = house.Submit({"cannot be embedded"});
    for (int attempt = 0; attempt < 3; ++attempt) {
      for (uint32_t r : {0u, 1u}) {
        if (auto taken = house.replica(r).TakeOne()) {
          house.replica(r).Refuse(*taken, CompletionStatus::kFailed, "out of range");
        }
      }
      house.Reap();
    }
    EXPECT_EQ(call.outcome(), Outcome::kReplicaLost);
  }
  EXPECT_TRUE(house.kills.empty());
}

TEST(RouterModel, FirstWordIsNotBelievedOverTheNextUntilRowsHaveComeBack) {
  RouterHouse house;
  const EngineInfo honest = house.info;
  house.info.dim = 16;
  house.info.max_tokens = 1;
  house.Serve(0);
  EXPECT_EQ(house.router().model()->max_tokens, 1u);
  house.Die(0, "garbage");
  house.info = honest;
  house.Serve(1);
  EXPECT_EQ(house.router().model()->dim, honest.dim);
  TestCall& call = house.Submit({"hello"});
  house.Settle();
  EXPECT_EMBEDDED(call);
  house.Die(1);
  house.info.dim = 16;
  EXPECT_THROW(house.Serve(0), std::runtime_error) << "proven now";
}

TEST(RouterModel, RequestCutForALiarsModelIsCutAgainForTheRealOne) {
  RouterHouse house;
  const EngineInfo honest = house.info;
  house.info.dim = 1;
  house.Serve(0);
  TestCall& call = house.Submit(NumberedPrompts(100, 1));
  house.Die(0, "garbage");
  house.info = honest;
  house.info.dim = 1000;  // 100 such rows are more than the arena of 64 KiB
  house.Serve(1);
  for (int i = 0; i < 200 && call.answers() == 0; ++i) house.Settle();
  EXPECT_EMBEDDED(call);
}

TEST(RouterOverload, CancelledRequestsDoNotMakeTheQueueLonger) {
  RouterHouse house;
  house.Serve(0);
  house.Submit({"on the lane"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  for (int i = 0; i < 50; ++i) house.Submit(NumberedPrompts(1, 250), "stays " + std::to_string(i));
  const uint64_t waiting = house.router().Load().waiting_shards;
  for (int i = 0; i < 1000; ++i) {
    TestCall& call = house.Submit(NumberedPrompts(1, 250), "leaves");
    house.router().Cancel(*call.ticket());
  }
  EXPECT_EQ(house.router().Load().waiting_shards, waiting);
}

TEST(RouterOverload, RequestThatWouldComeTooLateIsRefusedAtOnce) {
  RouterOptions options;
  options.forward_timeout = seconds(100);
  RouterHouse house(options);
  house.Serve(0);
  // Far more than the replica may hold.
  for (int i = 0; i < 500; ++i) house.Submit(NumberedPrompts(1, 250), std::to_string(i));
  TestCall& early = house.Submit({"while nothing is known"});
  EXPECT_EQ(early.answers(), 0);
  for (int i = 1; i <= 50; ++i) {  // a shard a second, and 450 wait
    house.replica(0).Answer(*house.replica(0).TakeOne());
    house.Reap(seconds(i));
  }
  TestCall& refused = house.Submit({"behind all of them"});
  ASSERT_EQ(refused.answers(), 1);
  EXPECT_EQ(refused.outcome(), Outcome::kOverloaded);
  EXPECT_THAT(refused.answer().message, HasSubstr("The queue is too long"));
  TestCall& urgent = house.Submit({"before all of them"}, "urgent", /*priority=*/-1);
  EXPECT_EQ(urgent.answers(), 0) << "the queue is not ahead of it";
}

// All of it is with the replica, but that is a queue, too.
TEST(RouterOverload, RequestThatWouldComeTooLateIsRefusedThoughTheReplicaHoldsAllThatWaits) {
  RouterOptions options;
  options.forward_timeout = seconds(5);
  RouterHouse house(options);
  house.geometry.ring_cells = 128;
  house.info.batch_tokens = 1 << 20;
  house.info.batch_prompts = 16;
  house.Serve(0);
  for (int i = 0; i < 60; ++i) house.Submit({"x"}, std::to_string(i));
  for (int i = 1; i <= 35; ++i) {  // ten a second, and one comes for each
    house.replica(0).Answer(*house.replica(0).TakeOne());
    house.Reap(std::chrono::milliseconds(100 * i));
    if (i >= 30) continue;
    EXPECT_EQ(house.Submit({"x"}, "more " + std::to_string(i)).answers(), 0);
  }
  EXPECT_EQ(house.router().Load().waiting_shards, 0u);
  TestCall& refused = house.Submit({"x"}, "behind all of them");
  ASSERT_EQ(refused.answers(), 1);
  EXPECT_EQ(refused.outcome(), Outcome::kOverloaded);
}

}  // namespace
}  // namespace zerohop

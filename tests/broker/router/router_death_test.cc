// The router when replicas die, hang or lie: nothing is lost, answered twice
// or answered wrong.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/router/router.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using std::chrono::hours;
using testing::HasSubstr;
using testing::StartsWith;

TEST(RouterDeath, OtherLaneAnswersEverythingOnce) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  std::vector<TestCall*> calls;
  for (int i = 0; i < 10; ++i) calls.push_back(&house.Submit(NumberedPrompts(30)));
  const auto taken = house.replica(0).TakeAll();
  ASSERT_GE(taken.size(), 2u);
  house.replica(0).Answer(taken[0]);  // committed, not reaped: it counts
  house.Die(0);
  house.Settle();
  for (TestCall* call : calls) EXPECT_EMBEDDED(*call);
  const RouterLoad load = house.router().Load();
  EXPECT_EQ(load.requests + load.waiting_shards, 0u);
}

TEST(RouterDeath, WhatWasCommittedBeforeTheDeathIsAnsweredByIt) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  house.replica(0).AnswerAll();
  house.Die(0);
  EXPECT_EMBEDDED(call);
}

TEST(RouterDeath, UntakenWorkIsNoSuspectAndKeepsItsOrder) {
  RouterHouse house;
  house.Serve(0);
  for (int i = 0; i < 5; ++i) house.Submit({"request " + std::to_string(i)});
  house.Die(0);
  FakeReplica& next = house.Serve(0);
  const auto taken = next.TakeAll();
  ASSERT_EQ(taken.size(), 5u) << "none runs alone";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(next.Prompts(taken[i])[0], "request " + std::to_string(i));
}

TEST(RouterDeath, TakenShardRunsAloneAfterwards) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  TestCall& suspect = house.Submit({"suspect"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  TestCall& bystander = house.Submit({"bystander"});
  const auto running = house.replica(1).TakeOne();
  ASSERT_TRUE(running);
  house.Die(0);
  TestCall& later = house.Submit({"later"});
  EXPECT_EQ(house.replica(1).TakeOne(), std::nullopt) << "the lane is emptied first";
  house.replica(1).Answer(*running);
  house.Reap();
  EXPECT_EMBEDDED(bystander);
  const auto alone = house.replica(1).TakeAll();
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ(house.replica(1).Prompts(alone[0])[0], "suspect");
  house.Submit({"even later"});
  EXPECT_EQ(house.replica(1).TakeOne(), std::nullopt) << "nothing beside a suspect";
  house.replica(1).Answer(alone);
  house.Settle();
  EXPECT_EMBEDDED(suspect);
  EXPECT_EMBEDDED(later);
}

TEST(RouterDeath, OtherLanesWorkOnWhileASuspectRuns) {
  RouterHouse house;
  for (uint32_t i = 0; i < 2; ++i) house.Serve(i);
  house.Submit({"suspect"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  house.Die(0);
  house.Serve(0);
  const bool on_zero = house.replica(0).lane().HasSubmission();
  TestCall& call = house.Submit({"ordinary"});
  EXPECT_EQ(house.replica(on_zero ? 1 : 0).AnswerAll(), 1u);
  house.Reap();
  EXPECT_EMBEDDED(call);
}

TEST(RouterDeath, SuspectsRunOldestFirst) {
  RouterHouse house;
  house.Serve(0);
  for (int i = 0; i < 3; ++i) house.Submit({"suspect " + std::to_string(i)});
  ASSERT_EQ(house.replica(0).TakeAll().size(), 3u);
  house.Die(0);
  FakeReplica& next = house.Serve(0);
  std::vector<std::string> order;
  while (auto one = next.TakeOne()) {
    order.push_back(next.Prompts(*one)[0]);
    next.Answer(*one);
    house.Reap();
  }
  EXPECT_EQ(order, std::vector<std::string>({"suspect 0", "suspect 1", "suspect 2"}));
}

TEST(RouterDeath, CancelledSuspectSetsItsLaneFree) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  TestCall& suspect = house.Submit({"suspect"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  TestCall& running = house.Submit({"running"});
  house.Die(0);
  house.router().Cancel(*suspect.ticket());
  TestCall& later = house.Submit({"later"});
  EXPECT_EQ(house.replica(1).AnswerAll(), 2u);
  house.Reap();
  EXPECT_EMBEDDED(running);
  EXPECT_EMBEDDED(later);
  EXPECT_EQ(suspect.answers(), 1);
}

TEST(RouterDeath, AnsweredSuspectBehindAnotherIsNotPosted) {
  RouterOptions options;
  options.replicas = 6;
  RouterHouse house(options);
  for (uint32_t i = 0; i < 6; ++i) house.Serve(i);
  TestCall& first = house.Submit({"first"});
  TestCall& second = house.Submit({"second"});
  for (int i = 0; i < 4; ++i) house.Submit({"other " + std::to_string(i)});
  std::vector<std::vector<Submission>> taken;
  for (uint32_t i = 0; i < 6; ++i) taken.push_back(house.replica(i).TakeAll());
  ASSERT_EQ(house.replica(0).Prompts(taken[0][0])[0], "first");
  ASSERT_EQ(house.replica(1).Prompts(taken[1][0])[0], "second");
  house.Die(1);
  house.Die(0);  // two of the four busy lanes are emptied for the suspects
  house.router().Cancel(*second.ticket());
  for (uint32_t i = 2; i < 6; ++i) house.replica(i).Answer(taken[i]);
  house.Reap();  // both are empty in the same turn
  house.Settle();
  EXPECT_EMBEDDED(first);
  EXPECT_EQ(second.answers(), 1);
}

TEST(RouterDeath, ThirdDeathFailsTheRequest) {
  RouterHouse house;
  for (int i = 0; i < 3; ++i) {
    house.Serve(0);
    if (i == 0) house.Submit({"poison"}, "poison");
    ASSERT_TRUE(house.replica(0).TakeOne()) << i;
    house.Die(0, "signal 11 (Segmentation fault)");
  }
  house.Serve(0);
  EXPECT_EQ(house.replica(0).TakeOne(), std::nullopt);
  EXPECT_EQ(house.router().Abort("poison"), 0u) << "answered already";
}

TEST(RouterDeath, ThirdDeathSaysWhy) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"poison"});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(call.answers(), 0);
    ASSERT_TRUE(house.replica(0).TakeOne());
    house.Die(0, "signal 11 (Segmentation fault)");
    house.Serve(0);
  }
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kReplicaLost);
  EXPECT_THAT(call.answer().message, StartsWith("Replica failure: "));
  EXPECT_THAT(call.answer().message, HasSubstr("signal 11 (Segmentation fault)"));
}

TEST(RouterDeath, PoisonTakesNoInnocentWithIt) {
  RouterHouse house;
  house.Serve(0);
  TestCall& poison = house.Submit({"poison"});
  std::vector<TestCall*> innocents;
  for (int i = 0; i < 5; ++i) innocents.push_back(&house.Submit({"innocent " + std::to_string(i)}));
  for (int deaths = 0; poison.answers() == 0; ++deaths) {
    ASSERT_LT(deaths, 4);
    for (;;) {
      bool dead = false;
      const auto taken = house.replica(0).TakeAll();
      if (taken.empty()) break;
      for (const Submission& one : taken) dead |= house.replica(0).Prompts(one)[0] == "poison";
      if (dead) break;
      house.replica(0).Answer(taken);
      house.Reap();
    }
    house.Die(0);
    house.Serve(0);
  }
  house.Settle();
  EXPECT_EQ(poison.outcome(), Outcome::kReplicaLost);
  for (TestCall* innocent : innocents) EXPECT_EMBEDDED(*innocent);
}

TEST(RouterDeath, AcceptedWorkWaitsForTheNextGeneration) {
  RouterOptions options;
  options.replica_grace = hours(1);
  RouterHouse house(options);
  house.Serve(0);
  TestCall& before = house.Submit({"before"});
  house.Die(0);
  EXPECT_TRUE(house.router().AcceptsWork()) << "the next is usually up soon";
  TestCall& during = house.Submit({"during"});
  EXPECT_EQ(before.answers() + during.answers(), 0);
  house.Serve(0);
  house.Settle();
  EXPECT_EMBEDDED(before);
  EXPECT_EMBEDDED(during);
}

TEST(RouterDeath, NewRequestsAreRefusedOnceTheGraceIsOver) {
  RouterOptions options;
  options.replica_grace = std::chrono::nanoseconds(-1);
  RouterHouse house(options);
  house.Serve(0);
  TestCall& before = house.Submit({"before"});
  house.Die(0);
  EXPECT_FALSE(house.router().AcceptsWork());
  TestCall& after = house.Submit({"after"});
  EXPECT_EQ(after.outcome(), Outcome::kNoReplica);
  EXPECT_THAT(after.answer().message, StartsWith("No healthy replicas"));
  EXPECT_EQ(before.answers(), 0) << "accepted, so it still waits";
  house.Serve(0);
  house.Settle();
  EXPECT_EMBEDDED(before);
}

TEST(RouterDeath, GarbageIsReportedOnceAndItsWorkIsDoneAgain) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  const auto taken = house.replica(0).TakeOne();
  Completion garbage = CompletionOf(*taken, CompletionStatus::kOk);
  ++garbage.rows;
  house.replica(0).Publish(garbage);
  house.Reap();
  ASSERT_EQ(house.kills.size(), 1u);
  EXPECT_EQ(house.kills[0].replica, 0u);
  EXPECT_EQ(house.kills[0].generation, 1u);
  EXPECT_THAT(house.kills[0].reason, StartsWith("garbage: "));
  house.replica(0).Answer(*taken);
  house.Reap();
  EXPECT_EQ(call.answers(), 0) << "nothing of it is believed";
  EXPECT_EQ(house.kills.size(), 1u);
  house.Die(0);
  house.Serve(0);
  house.Settle();
  EXPECT_EMBEDDED(call);
}

// Lane 1 lied and holds nothing; its process has not ended yet.
void MakeIdleLaneOneLie(RouterHouse& house) {
  Completion invented{};
  invented.cookie = 4711;
  house.replica(1).Publish(invented);
  house.Reap();
  ASSERT_EQ(house.kills.size(), 1u);
}

TEST(RouterDeath, LaneThatIsBeingKilledGetsNoWork) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  MakeIdleLaneOneLie(house);
  for (int i = 0; i < 3; ++i) house.Submit({"hello"});
  EXPECT_EQ(house.replica(1).TakeOne(), std::nullopt);
  EXPECT_EQ(house.replica(0).TakeAll().size(), 3u);
}

TEST(RouterDeath, LaneThatIsBeingKilledGetsNoSuspectEither) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  TestCall& call = house.Submit({"suspect"});
  ASSERT_TRUE(house.replica(0).TakeOne());
  MakeIdleLaneOneLie(house);
  house.Die(0);
  EXPECT_EQ(house.replica(1).TakeOne(), std::nullopt) << "it would spend an attempt for nothing";
  house.Die(1);
  house.Serve(0);
  house.Settle();
  EXPECT_EMBEDDED(call);
}

TEST(RouterDeath, AnsweredTicketIsNotRaisedFromTheDead) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit(NumberedPrompts(40), "mine");
  ASSERT_TRUE(house.replica(0).TakeOne());
  house.router().Abort("mine");
  house.Die(0);
  house.Serve(0);
  EXPECT_EQ(house.Settle(), 0u);
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(house.router().Load().waiting_shards, 0u);
}

}  // namespace
}  // namespace zerohop

// The broker's books of one lane, against a replica that the test plays.

#include "broker/lanes/lane_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tests/support/fake_replica.h"
#include "tests/support/new_shard.h"
#include "tests/support/test_call.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

constexpr uint32_t kDim = 8;
constexpr uint32_t kWideDim = 1000;  // one row takes 4 KiB: 16 of them fill the arena
constexpr uint64_t kCredit = 100, kCreditPrompts = 40;

class LanePortTest : public testing::Test {
 protected:
  explicit LanePortTest(uint32_t dim = kDim) {
    EngineInfo info;
    info.dim = dim;
    port = std::make_unique<LanePort>(lane, bell.ringer(), info, Credit{kCredit, kCreditPrompts});
  }

  ShardRef NewShard(std::vector<std::string> prompts, uint64_t tokens = 1) {
    return zerohop::NewShard(*calls.emplace_back(std::make_unique<TestCall>(std::move(prompts))), tokens);
  }
  ShardRef PostNew(const std::string& prompt) {
    ShardRef shard = NewShard({prompt});
    EXPECT_EQ(port->Post(shard, false), PostResult::kPosted);
    return shard;
  }
  std::vector<Finished> Reap() {
    std::vector<Finished> finished;
    EXPECT_TRUE(port->Reap(&finished)) << port->garbage();
    return finished;
  }
  bool InArena(const RowBlock& rows) const {
    return rows.bytes().data() >= lane->response(0) &&
           rows.bytes().data() < lane->response(lane->geometry().response_arena_bytes);
  }
  static std::string Text(const RowBlock& rows) {
    return {reinterpret_cast<const char*>(rows.bytes().data()), rows.bytes().size()};
  }

  BrokerBell bell = Must(BrokerBell::Create());
  std::shared_ptr<BrokerLane> lane =
      std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, 1, 0}, SmallGeometry())));
  FakeReplica replica{*lane, bell};
  std::vector<std::unique_ptr<TestCall>> calls;
  std::unique_ptr<LanePort> port;
};

class WideLanePortTest : public LanePortTest {
 protected:
  WideLanePortTest() : LanePortTest(kWideDim) {}
};

TEST_F(LanePortTest, PromptsGoThereAndRowsComeBackInPlace) {
  const std::vector<std::string> prompts = {"first", "", "and a third one"};
  ShardRef shard = NewShard(prompts, 17);
  shard->priority = -3;
  shard->deadline_monotonic_ns = 1234;
  ASSERT_EQ(port->Post(shard, false), PostResult::kPosted);
  EXPECT_EQ(shard->attempts, 1u);
  EXPECT_EQ(port->tokens_in_flight(), 17u);
  EXPECT_EQ(port->shards_in_flight(), 1u);

  const auto taken = replica.TakeOne();
  ASSERT_TRUE(taken);
  EXPECT_EQ(replica.Prompts(*taken), prompts);
  EXPECT_EQ(taken->priority, -3);
  EXPECT_EQ(taken->deadline_monotonic_ns, 1234);
  EXPECT_EQ(taken->response_length, 3 * RowBytes(kDim));
  replica.Answer(*taken);

  EXPECT_TRUE(port->HasCompletion());
  const auto finished = Reap();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].shard, shard);
  EXPECT_EQ(Text(finished[0].rows), KnownRows(prompts, kDim));
  EXPECT_TRUE(InArena(finished[0].rows)) << "not copied";
  EXPECT_EQ(port->tokens_in_flight(), 0u);
  EXPECT_EQ(port->shards_in_flight(), 0u);
}

TEST_F(LanePortTest, PartOfARequestIsPostedAlone) {
  ShardRef shard = NewShard(NumberedPrompts(10));
  shard->first = 4;
  shard->count = 3;
  shard->request_bytes = 3 * 40;
  ASSERT_EQ(port->Post(shard, false), PostResult::kPosted);
  const auto all = NumberedPrompts(10);
  EXPECT_EQ(replica.Prompts(*replica.TakeOne()), std::vector<std::string>(all.begin() + 4, all.begin() + 7));
}

TEST_F(LanePortTest, EveryCookieIsNew) {
  std::set<uint64_t> cookies;
  for (int i = 0; i < 100; ++i) {
    PostNew("x");
    const auto taken = replica.TakeOne();
    cookies.insert(taken->cookie);
    replica.Answer(*taken);
    (void)Reap();
  }
  EXPECT_EQ(cookies.size(), 100u);
}

TEST_F(LanePortTest, CreditEndsWithItsTokensButHoldsOneShardHoweverLarge) {
  ASSERT_TRUE(port->HasCredit());
  ASSERT_EQ(port->Post(NewShard({"huge"}, 50 * kCredit), false), PostResult::kPosted);
  EXPECT_FALSE(port->HasCredit());
  replica.AnswerAll();
  (void)Reap();
  EXPECT_TRUE(port->HasCredit());
}

TEST_F(LanePortTest, CreditEndsWithItsPromptsHoweverFewTheirTokens) {
  ASSERT_EQ(port->Post(NewShard(NumberedPrompts(kCreditPrompts - 1), 1), false), PostResult::kPosted);
  EXPECT_TRUE(port->HasCredit());
  PostNew("x");
  EXPECT_FALSE(port->HasCredit());
  replica.AnswerAll();
  (void)Reap();
  EXPECT_TRUE(port->HasCredit());
}

TEST_F(LanePortTest, CreditEndsWithTheSlots) {
  for (int i = 0; i < 16; ++i) {
    ASSERT_TRUE(port->HasCredit());
    PostNew("x");
  }
  EXPECT_FALSE(port->HasCredit());
}

TEST_F(LanePortTest, WhatTheEngineDoesSoonerThanAWakeIsNoBurden) {
  const auto post_and_run = [&](uint64_t busy_ns) {
    ASSERT_EQ(port->Post(NewShard({"ten tokens"}, 10), false), PostResult::kPosted);
    replica.Answer(*replica.TakeOne(), std::chrono::nanoseconds(busy_ns));
    ASSERT_EQ(Reap().size(), 1u);
  };
  const auto burden_of = [&](uint64_t tokens) {
    EXPECT_EQ(port->Post(NewShard({"x"}, tokens), false), PostResult::kPosted);
    const uint64_t burden = port->burden();
    replica.AnswerAll();
    EXPECT_EQ(Reap().size(), 1u);
    return burden;
  };
  EXPECT_EQ(burden_of(1), 1u) << "nothing is known of this engine";
  post_and_run(0);
  EXPECT_EQ(burden_of(1), 1u) << "it did not say how long it took";
  post_and_run(10'000);  // 1 us a token
  EXPECT_EQ(burden_of(10), 0u);
  EXPECT_EQ(burden_of(90), 90u);
  for (int i = 0; i < 100; ++i) post_and_run(10'000'000);  // 1 ms a token
  EXPECT_EQ(burden_of(1), 1u) << "it has become slow";
}

TEST_F(LanePortTest, ABatchThatTakesLongIsABurdenHoweverManyTokensItHolds) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(port->Post(NewShard({"x"}, 90), false), PostResult::kPosted);
    // 1 us a token, but longer than a wake.
    replica.Answer(*replica.TakeOne(), std::chrono::microseconds(90));
    ASSERT_EQ(Reap().size(), 1u);
  }
  ASSERT_EQ(port->Post(NewShard({"x"}, 1), false), PostResult::kPosted);
  EXPECT_EQ(port->burden(), 1u);
}

class RoomyLanePortTest : public LanePortTest {
 protected:
  RoomyLanePortTest() {
    LaneGeometry geometry = SmallGeometry();
    geometry.ring_cells = 2 * LanePort::kMostTrifles;
    lane = std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, 2, 0}, geometry)));
    EngineInfo info;
    info.dim = kDim;
    port = std::make_unique<LanePort>(lane, bell.ringer(), info, Credit{1000, 1000});
  }
};

TEST_F(RoomyLanePortTest, AFastLaneThatDoesNotAnswerIsABurden) {
  FakeReplica fast(*lane, bell);
  ASSERT_EQ(port->Post(NewShard({"x"}, 50), false), PostResult::kPosted);
  fast.Answer(*fast.TakeOne(), std::chrono::nanoseconds(50));
  ASSERT_EQ(Reap().size(), 1u);
  for (uint32_t i = 0; i < LanePort::kMostTrifles; ++i) PostNew("x");
  EXPECT_EQ(port->burden(), 0u);
  PostNew("one more");
  EXPECT_EQ(port->burden(), LanePort::kMostTrifles + 1u);
}

TEST_F(LanePortTest, RefusalsCarryTheirReasonAndFreeTheirRegions) {
  for (auto status : {CompletionStatus::kRejected, CompletionStatus::kFailed}) {
    ShardRef shard = NewShard(NumberedPrompts(4));
    ASSERT_EQ(port->Post(shard, false), PostResult::kPosted);
    replica.Refuse(*replica.TakeOne(), status, "too odd", 2);
    const auto finished = Reap();
    ASSERT_EQ(finished.size(), 1u);
    EXPECT_EQ(finished[0].status, status);
    EXPECT_EQ(finished[0].detail, "too odd");
    EXPECT_EQ(finished[0].failed_prompt, 2u);
    EXPECT_TRUE(finished[0].rows.bytes().empty());
  }
}

TEST_F(LanePortTest, WithdrawReachesEveryShardOfTheTicketAndNoOther) {
  ShardRef mine = PostNew("mine");
  PostNew("other");
  port->Withdraw(*mine->ticket);
  const auto taken = replica.TakeAll();
  EXPECT_TRUE(replica.lane().Withdrawn(taken[0]));
  EXPECT_FALSE(replica.lane().Withdrawn(taken[1]));
}

TEST_F(LanePortTest, RowsOutliveThePortAndTheReplica) {
  PostNew("kept");
  replica.AnswerAll();
  auto finished = Reap();
  port.reset();
  lane.reset();
  EXPECT_EQ(Text(finished[0].rows), KnownRows(std::vector<std::string>{"kept"}, kDim));
}

TEST_F(WideLanePortTest, RowsAreCopiedOutWhileTheArenaIsScarce) {
  for (int i = 0; i < 13; ++i) PostNew("prompt " + std::to_string(i));
  replica.AnswerAll();
  const auto finished = Reap();
  ASSERT_EQ(finished.size(), 13u);
  EXPECT_FALSE(InArena(finished[0].rows)) << "three of sixteen regions were free: less than a quarter";
  EXPECT_TRUE(InArena(finished[1].rows)) << "then four, with the one that was released";
  for (int i = 0; i < 13; ++i) {
    const std::vector<std::string> prompt = {"prompt " + std::to_string(i)};
    EXPECT_EQ(Text(finished[i].rows), KnownRows(prompt, kWideDim));
  }
}

TEST_F(WideLanePortTest, NoRoomIsNoPostAndReleasedRegionsAreUsedAgain) {
  for (int i = 0; i < 16; ++i) PostNew("x");
  replica.AnswerAll();
  auto finished = Reap();  // four were copied out, twelve stay in the arena
  for (int i = 0; i < 4; ++i) PostNew("y");
  ShardRef shard = NewShard({"no room"});
  EXPECT_EQ(port->Post(shard, false), PostResult::kNoRoom);
  EXPECT_EQ(shard->attempts, 0u) << "it was not tried";
  EXPECT_EQ(port->shards_in_flight(), 4u);
  const auto* lines = reinterpret_cast<const BellLines*>(bell.segment().data());
  const uint32_t rings = lines->rings.value;
  finished.back() = Finished();
  EXPECT_EQ(lines->rings.value, rings + 1) << "work waits for this room";
  EXPECT_EQ(port->Post(shard, false), PostResult::kPosted);
}

TEST_F(WideLanePortTest, FullRequestArenaGivesTheResponseRegionBack) {
  ShardRef half = NewShard({std::string(30 << 10, 'x')});
  ASSERT_EQ(port->Post(half, false), PostResult::kPosted);
  ASSERT_EQ(port->Post(NewShard({std::string(30 << 10, 'y')}), false), PostResult::kPosted);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(port->Post(NewShard({"z"}), false), PostResult::kNoRoom);
  replica.AnswerAll();
  (void)Reap();
  EXPECT_EQ(port->Post(NewShard(NumberedPrompts(15)), false), PostResult::kPosted) << "all of it is free";
}

// Random posts, takes, answers in any order, and rows held for any time.
TEST_F(WideLanePortTest, EveryRowIsRightUnderRandomOperations) {
  std::mt19937 random(11);
  std::vector<Submission> taken;
  std::vector<std::pair<RowBlock, std::string>> held;
  std::map<Shard*, std::string> expected;
  for (int round = 0; round < 20'000; ++round) {
    switch (random() % 4) {
      case 0: {
        if (!port->HasCredit()) break;
        const auto prompts = NumberedPrompts(1 + random() % 3, 10 + random() % 2000);
        ShardRef shard = NewShard(prompts);
        if (port->Post(shard, false) == PostResult::kPosted)
          expected[shard.get()] = KnownRows(prompts, kWideDim);
        break;
      }
      case 1:
        if (auto one = replica.TakeOne()) taken.push_back(*one);
        break;
      case 2:
        if (taken.empty()) break;
        std::swap(taken[random() % taken.size()], taken.back());
        replica.Answer(taken.back());
        taken.pop_back();
        break;
      case 3:
        for (Finished& done : Reap()) held.emplace_back(std::move(done.rows), expected.at(done.shard.get()));
        while (!held.empty() && random() % 2 == 0) {
          std::swap(held[random() % held.size()], held.back());
          ASSERT_EQ(Text(held.back().first), held.back().second) << "held rows never change";
          held.pop_back();
        }
        break;
    }
    if (expected.size() > 500 && port->shards_in_flight() == 0) expected.clear(), calls.clear();
  }
  replica.Answer(taken);
  replica.AnswerAll();
  (void)Reap();
  held.clear();
  EXPECT_EQ(port->Post(NewShard(NumberedPrompts(16)), false), PostResult::kPosted)
      << "the whole arena is free";
}

}  // namespace
}  // namespace zerohop

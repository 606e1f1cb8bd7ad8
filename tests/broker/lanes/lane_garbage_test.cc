// What LanePort does with a replica that breaks the rules, and with one that died.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "broker/lanes/lane_port.h"
#include "tests/support/fake_replica.h"
#include "tests/support/new_shard.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

class LaneGarbageTest : public testing::Test {
 protected:
  LaneGarbageTest() {
    EngineInfo info;
    info.dim = 8;
    port = std::make_unique<LanePort>(lane, bell.ringer(), info, Credit{1000});
  }

  ShardRef PostNew(const std::string& prompt) {
    const ShardRef shard =
        NewShard(*calls.emplace_back(std::make_unique<TestCall>(std::vector<std::string>{prompt})));
    EXPECT_EQ(port->Post(shard, false), PostResult::kPosted);
    return shard;
  }
  // The words that the replica alone writes, as a scribbler in it would reach them.
  ReplicaLines& Scribble() {
    const LaneOffsets at = OffsetsOf(lane->geometry());
    scribbled = Must(Segment::Attach(std::move(Must(lane->Offer(bell)).replica_segment), at.replica_bytes,
                                     Access::kReadWrite));
    return *reinterpret_cast<ReplicaLines*>(scribbled.data() + at.replica_lines);
  }
  // Nothing of the replica is believed any more, however good it looks.
  void ExpectRefused(const std::string& why) {
    std::vector<Finished> finished;
    EXPECT_FALSE(port->Reap(&finished));
    EXPECT_TRUE(finished.empty());
    EXPECT_THAT(port->garbage(), HasSubstr("garbage: "));
    EXPECT_THAT(port->garbage(), HasSubstr(why));
    EXPECT_FALSE(port->HasCredit());
    EXPECT_FALSE(port->HasCompletion());
    replica.Answer(good);
    EXPECT_FALSE(port->Reap(&finished));
    EXPECT_TRUE(finished.empty()) << "a good completion came too late";
  }

  BrokerBell bell = Must(BrokerBell::Create());
  std::shared_ptr<BrokerLane> lane =
      std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, 1, 0}, SmallGeometry())));
  FakeReplica replica{*lane, bell};
  Segment scribbled;
  std::vector<std::unique_ptr<TestCall>> calls;
  std::unique_ptr<LanePort> port;
  Submission good{};  // honest, and answered after the garbage
};

// One case of garbage: what is done to an honest completion, and what is said of it.
struct Damage {
  const char* name;
  void (*change)(Completion&);
  const char* why;
};
// Read by GoogleTest.
void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.name;
}

class LaneDamageTest : public LaneGarbageTest, public testing::WithParamInterface<Damage> {};

TEST_P(LaneDamageTest, EndsAllBelief) {
  PostNew("first");
  PostNew("second");
  const auto taken = replica.TakeAll();
  good = taken[1];
  replica.WriteRows(taken[0]);
  Completion completion = CompletionOf(taken[0], CompletionStatus::kOk);
  GetParam().change(completion);
  replica.Publish(completion);
  ExpectRefused(GetParam().why);
}

INSTANTIATE_TEST_SUITE_P(
    Each, LaneDamageTest,
    testing::Values(Damage{"SlotBeyondTheTable", [](Completion& c) { c.slot = 16; }, "was not submitted"},
                    Damage{"SlotFarBeyond", [](Completion& c) { c.slot = ~0u; }, "was not submitted"},
                    Damage{"EmptySlot", [](Completion& c) { c.slot = 9; }, "was not submitted"},
                    Damage{"SlotOfAnother", [](Completion& c) { c.slot ^= 1; }, "foreign cookie"},
                    Damage{"Cookie", [](Completion& c) { ++c.cookie; }, "foreign cookie"},
                    Damage{"Status", [](Completion& c) { c.status = 4; }, "no known status"},
                    Damage{"Rows", [](Completion& c) { c.rows = 2; }, "another number of rows"},
                    Damage{"Detail", [](Completion& c) { c.detail_length = ~0u; },
                           "a detail that cannot be"}),
    [](const auto& one) { return std::string(one.param.name); });

TEST_F(LaneGarbageTest, SameCompletionTwiceEndsAllBelief) {
  PostNew("first");
  PostNew("second");
  const auto taken = replica.TakeAll();
  good = taken[1];
  replica.Answer(taken[0]);
  std::vector<Finished> finished;
  ASSERT_TRUE(port->Reap(&finished));
  replica.Answer(taken[0]);
  ExpectRefused("was not submitted");
}

TEST_F(LaneGarbageTest, ImpossibleCompletionTailEndsAllBelief) {
  PostNew("first");
  good = *replica.TakeOne();
  Scribble().completion_tail.value = 1000;
  std::vector<Finished> finished;
  EXPECT_FALSE(port->Reap(&finished));
  EXPECT_THAT(port->garbage(), HasSubstr("tail is impossible"));
}

TEST_F(LaneGarbageTest, ImpossibleSubmissionHeadEndsAllBelief) {
  for (int i = 0; i < 16; ++i) PostNew("x");
  replica.AnswerAll();
  std::vector<Finished> finished;
  ASSERT_TRUE(port->Reap(&finished));
  Scribble().submission_head.value = 1000;
  TestCall call({"one too many"});
  const ShardRef shard = NewShard(call);
  EXPECT_EQ(port->Post(shard, false), PostResult::kCorrupt);
  EXPECT_THAT(port->garbage(), HasSubstr("head is impossible"));
  EXPECT_EQ(shard->attempts, 0u);
  EXPECT_EQ(port->shards_in_flight(), 0u);
  EXPECT_FALSE(port->HasCredit());
}

TEST_F(LaneGarbageTest, AbandonCountsWhatWasCommittedAndOrdersTheRestByAge) {
  // A first round, so that slots are not in the order of age any more.
  for (int i = 0; i < 3; ++i) PostNew("before");
  replica.AnswerAll();
  std::vector<Finished> finished;
  ASSERT_TRUE(port->Reap(&finished));
  finished.clear();
  std::vector<ShardRef> shards;
  for (int i = 0; i < 5; ++i) shards.push_back(PostNew("shard " + std::to_string(i)));
  const Submission taken[] = {*replica.TakeOne(), *replica.TakeOne(), *replica.TakeOne()};
  replica.Answer(taken[1]);

  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);

  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].shard, shards[1]);
  ASSERT_EQ(orphans.size(), 4u);
  EXPECT_EQ(orphans[0].shard, shards[0]);
  EXPECT_EQ(orphans[1].shard, shards[2]);
  EXPECT_EQ(orphans[2].shard, shards[3]);
  EXPECT_EQ(orphans[3].shard, shards[4]);
  EXPECT_TRUE(orphans[0].taken && orphans[1].taken) << "the replica had begun with them";
  EXPECT_FALSE(orphans[2].taken || orphans[3].taken) << "these lay in the ring";
}

TEST_F(LaneGarbageTest, AbandonBelievesUpToTheFirstGarbage) {
  std::vector<ShardRef> shards = {PostNew("a"), PostNew("b"), PostNew("c")};
  const auto taken = replica.TakeAll();
  replica.Answer(taken[0]);
  Completion garbage = CompletionOf(taken[1], CompletionStatus::kOk);
  garbage.cookie = 1;
  replica.Publish(garbage);
  replica.Answer(taken[2]);
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].shard, shards[0]);
  EXPECT_EQ(orphans.size(), 2u);
}

TEST_F(LaneGarbageTest, ImpossibleHeadAtDeathMakesAllSuspect) {
  PostNew("a");
  PostNew("b");
  Scribble().submission_head.value = 77;
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);
  ASSERT_EQ(orphans.size(), 2u);
  EXPECT_TRUE(orphans[0].taken && orphans[1].taken);
}

}  // namespace
}  // namespace zerohop

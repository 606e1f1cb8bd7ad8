#include "replica_shim/lifeline.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/support/lane_pair.h"

namespace zerohop {
namespace {

using std::chrono::milliseconds;

struct Ends {
  Ends() {
    auto pair = Must(ControlChannel::MakePair());
    broker = std::move(pair.first);
    replica = std::move(pair.second);
  }
  // What the broker sees: whether the beat has changed since the last call.
  bool HasBeaten() {
    heartbeat.Look(now += milliseconds(1));
    return heartbeat.BeatSilentFor(now) == milliseconds(0);
  }
  void WaitForBeats(int count) {
    while (count > 0) {
      HasBeaten() ? (void)--count : std::this_thread::yield();
    }
  }

  ControlChannel broker, replica;
  LanePair lane;
  HeartbeatReader::Clock::time_point now = HeartbeatReader::Clock::now();
  HeartbeatReader heartbeat = lane.broker->MakeHeartbeatReader(now);
};

TEST(Lifeline, BeatsAndHoldsItsWordUntilItIsDestroyed) {
  Ends ends;
  {
    const Lifeline lifeline(ends.replica, ends.lane.replica, milliseconds(1), WhenAlone::kExit);
    ends.WaitForBeats(3);
    EXPECT_EQ(lifeline.orders(), Orders::kServe);
    EXPECT_NE(ends.lane.broker->lifeline().value(), 0u);
  }
  (void)ends.HasBeaten();
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_FALSE(ends.HasBeaten());
  EXPECT_EQ(ends.lane.broker->lifeline().value(), 0u) << "an end as it should be is no death";
}

TEST(Lifeline, DrainIsHeardAndGarbageIsNot) {
  Ends ends;
  const Lifeline lifeline(ends.replica, ends.lane.replica, milliseconds(1), WhenAlone::kExit);
  ASSERT_EQ(::send(ends.broker.fd(), "garbage", 7, 0), 7);
  ASSERT_TRUE(ends.broker.Send(Hello{}).ok());
  ends.WaitForBeats(5);
  EXPECT_EQ(lifeline.orders(), Orders::kServe);
  ASSERT_TRUE(ends.broker.Send(Drain{}).ok());
  while (lifeline.orders() != Orders::kDrain) std::this_thread::yield();
}

TEST(Lifeline, AttachedReplicaIsFencedWhenTheBrokerHangsUp) {
  Ends ends;
  Submission submission{};
  submission.response_length = 16;
  const std::span<std::byte> row = ends.lane.replica.response(submission);
  row[0] = std::byte{1};
  const Lifeline lifeline(ends.replica, ends.lane.replica, milliseconds(1), WhenAlone::kFence);
  ends.broker.Close();
  while (!lifeline.IsFenced()) std::this_thread::yield();
  EXPECT_EQ(lifeline.orders(), Orders::kLeave);
  row[0] = std::byte{2};
  EXPECT_EQ(ends.lane.replica.Complete({}), RingResult::kDone);
  ends.lane.replica.RingBroker();
  EXPECT_EQ(*ends.lane.broker->response(0), std::byte{1}) << "late rows stay with who wrote them";
  Completion completion;
  EXPECT_EQ(ends.lane.broker->TakeCompletion(&completion), RingResult::kEmpty) << "and so do completions";
}

void LoseTheBroker() {
  Ends ends;
  const Lifeline lifeline(ends.replica, ends.lane.replica, std::chrono::seconds(100), WhenAlone::kExit);
  ends.broker.Close();
  std::this_thread::sleep_for(std::chrono::seconds(100));
}

TEST(LifelineDeathTest, EndOfFileEndsASpawnedProcessAtOnce) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(LoseTheBroker(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace zerohop

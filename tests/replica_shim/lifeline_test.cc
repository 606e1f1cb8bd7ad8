#include "replica_shim/lifeline.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/support/must.h"

namespace zerohop {
namespace {

using std::chrono::milliseconds;

struct Ends {
  Ends() {
    auto pair = Must(ControlChannel::MakePair());
    broker = std::move(pair.first);
    replica = std::move(pair.second);
  }
  ControlChannel broker, replica;
  HeartbeatSlot slot{};
};

TEST(Lifeline, BeatsUntilItIsDestroyed) {
  Ends ends;
  {
    Lifeline lifeline(ends.replica, HeartbeatWriter(&ends.slot), milliseconds(1));
    while (ends.slot.beat < 3) std::this_thread::yield();
    EXPECT_FALSE(lifeline.DrainRequested());
  }
  const uint64_t beat = ends.slot.beat;
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(ends.slot.beat, beat);
  EXPECT_EQ(ends.slot.progress, 0u) << "progress is the worker's";
}

TEST(Lifeline, DrainIsHeardAndGarbageIsNot) {
  Ends ends;
  Lifeline lifeline(ends.replica, HeartbeatWriter(&ends.slot), milliseconds(1));
  ASSERT_EQ(::send(ends.broker.fd(), "garbage", 7, 0), 7);
  ASSERT_TRUE(ends.broker.Send(Hello{}).ok());
  const uint64_t beat = ends.slot.beat;
  while (ends.slot.beat < beat + 5) std::this_thread::yield();
  EXPECT_FALSE(lifeline.DrainRequested());
  ASSERT_TRUE(ends.broker.Send(Drain{}).ok());
  while (!lifeline.DrainRequested()) std::this_thread::yield();
}

void LoseTheBroker() {
  Ends ends;
  Lifeline lifeline(ends.replica, HeartbeatWriter(&ends.slot), std::chrono::seconds(100));
  ends.broker.Close();
  std::this_thread::sleep_for(std::chrono::seconds(100));
}

TEST(LifelineDeathTest, EndOfFileEndsTheProcessAtOnce) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(LoseTheBroker(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace zerohop

#include "shm/heartbeat.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::seconds;
using Clock = HeartbeatReader::Clock;

const Clock::time_point kStart = Clock::time_point(seconds(1000));

TEST(Heartbeat, SilenceIsMeasuredByTheReadersClock) {
  HeartbeatSlot slot{};
  HeartbeatWriter writer(&slot);
  HeartbeatReader reader(&slot, kStart);
  writer.Beat();
  reader.Look(kStart + seconds(1));
  EXPECT_EQ(reader.BeatSilentFor(kStart + seconds(4)), seconds(3));
  EXPECT_EQ(reader.ProgressSilentFor(kStart + seconds(4)), seconds(4)) << "a beat is no progress";
  writer.Progress();
  reader.Look(kStart + seconds(5));
  EXPECT_EQ(reader.ProgressSilentFor(kStart + seconds(5)), seconds(0));
  EXPECT_EQ(reader.BeatSilentFor(kStart + seconds(5)), seconds(4));
}

TEST(Heartbeat, CounterThatWentBackIsASignOfLifeToo) {
  HeartbeatSlot slot{};
  slot.beat = 100;
  HeartbeatReader reader(&slot, kStart);
  reader.Look(kStart);
  slot.beat = 3;
  reader.Look(kStart + seconds(2));
  EXPECT_EQ(reader.BeatSilentFor(kStart + seconds(2)), seconds(0));
}

TEST(Heartbeat, EnteringAPhaseIsProgress) {
  HeartbeatSlot slot{};
  HeartbeatReader reader(&slot, kStart);
  EXPECT_EQ(reader.phase(), Phase::kLoading);
  HeartbeatWriter(&slot).Enter(Phase::kIdle);
  reader.Look(kStart + seconds(9));
  EXPECT_EQ(reader.phase(), Phase::kIdle);
  EXPECT_EQ(reader.ProgressSilentFor(kStart + seconds(9)), seconds(0));
}

TEST(Heartbeat, InventedPhaseCountsAsRunning) {
  HeartbeatSlot slot{};
  const HeartbeatReader reader(&slot, kStart);
  for (uint32_t phase : {3u, 1000u, ~0u}) {
    slot.phase = phase;
    EXPECT_EQ(reader.phase(), Phase::kRunning) << phase;
  }
}

}  // namespace
}  // namespace zerohop

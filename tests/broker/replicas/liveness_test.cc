// Times go in, verdicts come out: back-off, liveness and the memory budget.

#include "broker/replicas/liveness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/replicas/backoff.h"
#include "broker/replicas/memory_budget.h"

namespace zerohop {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST(Backoff, FirstDeathRestartsAtOnceAndLoopsWaitLongerUpToTheLimit) {
  Backoff backoff;
  for (int expected : {0, 1, 2, 4, 8, 16, 30, 30, 30}) {
    backoff.OnDeath(seconds(0));
    EXPECT_EQ(backoff.Wait(/*others_serve=*/true), seconds(expected));
  }
}

TEST(Backoff, LongServiceForgivesEarlierDeaths) {
  Backoff backoff;
  for (int i = 0; i < 5; ++i) backoff.OnDeath(seconds(59));
  backoff.OnDeath(seconds(60));
  EXPECT_EQ(backoff.Wait(true), seconds(0));
  backoff.OnDeath(seconds(1));
  EXPECT_EQ(backoff.Wait(true), seconds(1));
}

TEST(Backoff, LastReplicaNeverWaitsLong) {
  Backoff backoff;
  backoff.OnDeath(seconds(0));
  EXPECT_EQ(backoff.Wait(/*others_serve=*/false), seconds(0));
  for (int i = 0; i < 10; ++i) {
    backoff.OnDeath(seconds(0));
    EXPECT_EQ(backoff.Wait(false), milliseconds(250));
  }
  EXPECT_EQ(backoff.Wait(true), seconds(30)) << "but its deaths were counted";
}

TEST(Backoff, WaitEndsEarlyWhenTheLastNeighbourDies) {
  Backoff backoff;
  for (int i = 0; i < 10; ++i) backoff.OnDeath(seconds(0));
  EXPECT_EQ(backoff.Wait(/*others_serve=*/true), seconds(30));
  EXPECT_EQ(backoff.Wait(/*others_serve=*/false), milliseconds(250)) << "asked again, of the same death";
}

TEST(Backoff, SurvivesAnyNumberOfDeaths) {
  Backoff backoff;
  for (int i = 0; i < 100'000; ++i) backoff.OnDeath(seconds(0));
  EXPECT_EQ(backoff.Wait(true), seconds(30));
}

struct Heart {
  explicit Heart(Phase phase) {
    writer.Beat();
    writer.Enter(phase);
    reader.Look(start);
  }
  // The verdict after so much silence of both counters, or of progress alone.
  std::optional<std::string> AfterSilence(seconds silence) {
    reader.Look(start + silence);
    return Suspicion(reader, budget, start + silence);
  }
  std::optional<std::string> AfterStall(seconds stall) {
    writer.Beat();
    return AfterSilence(stall);
  }

  const HeartbeatReader::Clock::time_point start{seconds(1000)};
  LivenessBudget budget;
  HeartbeatSlot slot{};
  HeartbeatWriter writer{&slot};
  HeartbeatReader reader{&slot, start};
};

TEST(Liveness, BeatMayBeSilentForItsBudgetAndNoLonger) {
  EXPECT_EQ(Heart(Phase::kRunning).AfterSilence(seconds(5)), std::nullopt);
  EXPECT_THAT(Heart(Phase::kRunning).AfterSilence(seconds(6)).value_or(""), HasSubstr("no beat for 6 s"));
  EXPECT_THAT(Heart(Phase::kLoading).AfterSilence(seconds(6)).value_or(""), HasSubstr("no beat for 6 s"));
}

TEST(Liveness, EachPhaseHasItsOwnAllowance) {
  EXPECT_EQ(Heart(Phase::kLoading).AfterStall(seconds(120)), std::nullopt);
  EXPECT_THAT(Heart(Phase::kLoading).AfterStall(seconds(121)).value_or(""), HasSubstr("loading"));
  EXPECT_EQ(Heart(Phase::kIdle).AfterStall(seconds(5)), std::nullopt);
  EXPECT_THAT(Heart(Phase::kIdle).AfterStall(seconds(6)).value_or(""), HasSubstr("idle worker"));
  EXPECT_EQ(Heart(Phase::kRunning).AfterStall(seconds(60)), std::nullopt);
  EXPECT_THAT(Heart(Phase::kRunning).AfterStall(seconds(61)).value_or(""), HasSubstr("one pass"));
}

TEST(Liveness, BudgetIsWhatTheOptionsSay) {
  Heart heart(Phase::kRunning);
  heart.budget.running = seconds(2);
  EXPECT_THAT(heart.AfterStall(seconds(3)).value_or(""), HasSubstr("more than 2 s"));
}

TEST(MemoryBudget, EnoughMemoryIsEnough) {
  EXPECT_TRUE(CheckMemory(4, 100 << 20, 400 << 20).ok());
  EXPECT_TRUE(CheckMemory(1, 0, 0).ok());
}

TEST(MemoryBudget, TooLittleMemoryIsSaidWithNumbersAndFlags) {
  const absl::Status status = CheckMemory(4, 100 << 20, 399 << 20);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(),
            "not enough memory for the lanes: 4 x 100 MiB are needed, 399 MiB are available; "
            "lower --num-replicas, --request-arena-mib or --response-arena-mib");
}

TEST(MemoryBudget, HugeNumbersDoNotWrap) {
  EXPECT_FALSE(CheckMemory(1 << 20, ~size_t{0} / 2, 1 << 30).ok());
}

TEST(MemoryBudget, ThisMachineHasSomeMemory) {
  EXPECT_GT(AvailableMemoryBytes(), 0u);
}

}  // namespace
}  // namespace zerohop

// What a worker does with prompts that are not acceptable, passes that fail,
// work that was withdrawn and records that cannot be.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "replica_shim/worker.h"
#include "tests/support/worker_house.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

// The completion of one submission; every submission must have exactly one.
Completion Of(const Submission& submission, const std::vector<Completion>& completions) {
  Completion found{};
  int count = 0;
  for (const Completion& one : completions) {
    if (one.cookie == submission.cookie) found = one, ++count;
  }
  EXPECT_EQ(count, 1);
  return found;
}

TEST(WorkerFailure, UnacceptablePromptIsNamedAndNobodyElseSuffers) {
  WorkerHouse house;
  const std::vector<std::string> innocent = {"innocent"};
  const Submission before = house.Submit(innocent);
  const Submission bad = house.Submit({"good", "good", "bad-token", "good"});
  const Submission after = house.Submit(innocent);
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  const Completion rejected = Of(bad, completions);
  EXPECT_EQ(StatusOf(rejected), CompletionStatus::kRejected);
  EXPECT_EQ(rejected.failed_prompt, 2u);
  EXPECT_EQ(rejected.rows, 0u);
  EXPECT_EQ(house.Response(bad, rejected.detail_length), "cannot tokenize this");
  for (const Submission& one : {before, after}) {
    EXPECT_EQ(StatusOf(Of(one, completions)), CompletionStatus::kOk);
    EXPECT_TRUE(house.HasRightRows(one, innocent));
  }
}

TEST(WorkerFailure, FirstOfTwoUnacceptablePromptsIsTheReason) {
  WorkerHouse house;
  const Submission bad = house.Submit({"good", "bad-token", "bad-token too"});
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_EQ(Of(bad, house.Completions()).failed_prompt, 1u);
  EXPECT_TRUE(house.engine.batches.empty()) << "nothing of it ran";
}

TEST(WorkerFailure, FailedPassIsRunAgainSinglyAndOnlyTheOneAtFaultPays) {
  WorkerHouse house;
  const std::vector<std::string> innocent = {"innocent"};
  const Submission before = house.Submit(innocent);
  const Submission bad = house.Submit({"fine", "bad-run"});
  const Submission after = house.Submit(innocent);
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  const Completion failed = Of(bad, completions);
  EXPECT_EQ(StatusOf(failed), CompletionStatus::kFailed);
  EXPECT_EQ(failed.failed_prompt, 1u);
  EXPECT_EQ(house.Response(bad, failed.detail_length), "the pass failed");
  for (const Submission& one : {before, after}) {
    EXPECT_EQ(StatusOf(Of(one, completions)), CompletionStatus::kOk);
    EXPECT_TRUE(house.HasRightRows(one, innocent));
  }
}

TEST(WorkerFailure, RestOfAFailedSubmissionDoesNotRun) {
  WorkerHouse house;
  std::vector<std::string> prompts(20, "a prompt of the same length");
  prompts[0] = "bad-run, of the same length";
  house.Submit(prompts);
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_EQ(StatusOf(house.Completions().at(0)), CompletionStatus::kFailed);
  EXPECT_LE(house.engine.batches.size(), 2u) << "the pass, and its first prompt alone";
}

TEST(WorkerFailure, DetailIsCutToItsRegion) {
  WorkerHouse house;
  Submission small = house.Prepare({"bad-token"});
  const std::string next_to_it = house.Response(small, 4096).substr(small.response_length);
  house.Submit(small);
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_LE(house.Completions().at(0).detail_length, small.response_length);
  EXPECT_EQ(house.Response(small, 4096).substr(small.response_length), next_to_it);
}

TEST(WorkerFailure, WithdrawnAndExpiredSubmissionsComeBackUnrun) {
  WorkerHouse house;
  Submission expired = house.Prepare({"expired"});
  expired.deadline_monotonic_ns = 1;
  house.Submit(expired);
  const Submission withdrawn = house.Submit({"withdrawn"});
  house.lane.broker->Withdraw(withdrawn.slot, withdrawn.cookie);
  const Submission kept = house.Submit({"kept"});
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  EXPECT_EQ(StatusOf(Of(expired, completions)), CompletionStatus::kWithdrawn);
  EXPECT_EQ(StatusOf(Of(withdrawn, completions)), CompletionStatus::kWithdrawn);
  EXPECT_EQ(StatusOf(Of(kept, completions)), CompletionStatus::kOk);
  EXPECT_EQ(house.engine.batches, (std::vector<std::vector<std::string>>{{"kept"}}));
}

TEST(WorkerFailure, SubmissionWithdrawnBetweenPassesStopsThere) {
  WorkerHouse house;
  const Submission first = house.Submit({"a short"});
  const Submission second = house.Submit({std::string(60, 'x')});
  house.engine.on_run = [&] { house.lane.broker->Withdraw(second.slot, second.cookie); };
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  EXPECT_EQ(StatusOf(Of(first, completions)), CompletionStatus::kOk);
  EXPECT_EQ(StatusOf(Of(second, completions)), CompletionStatus::kWithdrawn);
  EXPECT_EQ(house.engine.batches.size(), 1u);
}

// One way in which a record can be impossible.
struct Damage {
  const char* name;
  void (*change)(Submission&);
};
// Read by GoogleTest.
void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.name;
}

class WorkerDamage : public testing::TestWithParam<Damage> {};

TEST_P(WorkerDamage, FailsThatSubmissionAndNoOther) {
  WorkerHouse house;
  const std::vector<std::string> innocent = {"innocent"};
  const Submission before = house.Submit(innocent);
  Submission bad = house.Prepare({"good", "good"});
  GetParam().change(bad);
  house.Submit(bad);
  const Submission after = house.Submit(innocent);
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  EXPECT_EQ(StatusOf(Of(bad, completions)), CompletionStatus::kFailed);
  for (const Submission& one : {before, after}) {
    EXPECT_EQ(StatusOf(Of(one, completions)), CompletionStatus::kOk);
    EXPECT_TRUE(house.HasRightRows(one, innocent));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Each, WorkerDamage,
    testing::Values(Damage{"RequestBeyondTheArena", [](Submission& s) { s.request_offset = 1 << 20; }},
                    Damage{"RequestOffsetThatWraps",
                           [](Submission& s) { s.request_offset = ~uint64_t{0} - 8; }},
                    Damage{"RequestLongerThanTheArena", [](Submission& s) { s.request_length = ~0u; }},
                    Damage{"RequestShorterThanItsTable", [](Submission& s) { s.request_length = 7; }},
                    Damage{"RequestShorterThanItsPrompts", [](Submission& s) { s.request_length -= 1; }},
                    Damage{"ResponseBeyondTheArena", [](Submission& s) { s.response_offset = 1 << 20; }},
                    Damage{"ResponseTooShort", [](Submission& s) { s.response_length -= 4; }},
                    Damage{"ResponseTooLong", [](Submission& s) { s.response_length += 4; }},
                    Damage{"MoreRowsThanPrompts", [](Submission& s) { ++s.rows, s.response_length += 32; }},
                    Damage{"RowsBeyondCounting", [](Submission& s) { s.rows = ~0u; }},
                    Damage{"AnotherDimension", [](Submission& s) { s.dim = 7; }},
                    Damage{"NoDimension", [](Submission& s) { s.dim = 0; }},
                    Damage{"UnknownKind", [](Submission& s) { s.kind = 7; }}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(WorkerFailure, ImpossibleSubmissionTailEndsTheWorker) {
  WorkerHouse house;
  // Only the broker can write this word; its own mapping lies a known distance before its arena.
  const LaneOffsets at = OffsetsOf(house.lane.broker->geometry());
  std::byte* const segment = house.lane.broker->request(0) - at.request_arena;
  reinterpret_cast<BrokerLines*>(segment + at.broker_lines)->submission_tail.value = 1000;
  EXPECT_THAT(std::string(house.Serve().message()), HasSubstr("submission ring is corrupt"));
}

}  // namespace
}  // namespace zerohop

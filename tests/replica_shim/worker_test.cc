#include "replica_shim/worker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "tests/support/worker_house.h"

namespace zerohop {
namespace {

using Batches = std::vector<std::vector<std::string>>;

TEST(Worker, EverySubmissionIsAnsweredWithItsRows) {
  WorkerHouse house;
  const std::vector<std::string> first = {"one", "two", "three"}, second = {"four"};
  const Submission a = house.Submit(first), b = house.Submit(second);
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  ASSERT_EQ(completions.size(), 2u);
  for (const Completion& completion : completions) {
    EXPECT_EQ(StatusOf(completion), CompletionStatus::kOk);
    const Submission& mine = completion.cookie == a.cookie ? a : b;
    EXPECT_EQ(completion.cookie, mine.cookie);
    EXPECT_EQ(completion.slot, mine.slot);
    EXPECT_EQ(completion.rows, mine.rows);
    EXPECT_EQ(completion.detail_length, 0u);
    EXPECT_EQ(completion.tokens, mine.rows == 3 ? 11u : 4u) << "one a byte";
  }
  EXPECT_TRUE(house.HasRightRows(a, first));
  EXPECT_TRUE(house.HasRightRows(b, second));
}

TEST(Worker, TokenIdsReachTheEngineAsTheyAre) {
  WorkerHouse house;
  const std::vector<std::string> ids = {"\x01\x02\x03\x04", "abcdefgh"};
  const Submission submission = house.Submit(ids, PromptKind::kTokenIds);
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_EQ(StatusOf(house.Completions().at(0)), CompletionStatus::kOk);
  EXPECT_TRUE(house.HasRightRows(submission, ids));
}

TEST(Worker, PromptsOfDifferentSubmissionsShareAPass) {
  WorkerHouse house;
  house.Submit({"aaaa"});
  house.Submit({"bbbb"});
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_EQ(house.engine.batches, (Batches{{"aaaa", "bbbb"}}));
}

TEST(Worker, NoPassIsLargerThanTheEngineWants) {
  WorkerHouse house;
  std::vector<std::string> prompts;
  for (int i = 0; i < 40; ++i) prompts.push_back(std::string(1 + i % 30, 'x'));
  const Submission submission = house.Submit(prompts);
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_TRUE(house.HasRightRows(submission, prompts));
  size_t all = 0;
  for (const auto& batch : house.engine.batches) {
    size_t longest = 0;
    for (const auto& text : batch) longest = std::max(longest, text.size());
    EXPECT_LE(batch.size(), 4u);
    EXPECT_LE(batch.size() * longest, 64u);
    all += batch.size();
  }
  EXPECT_EQ(all, 40u) << "each ran once";
}

TEST(Worker, PromptRunsWithTheOldestOfItsLengthWhoeverSubmittedIt) {
  WorkerHouse house;
  std::vector<std::string> prompts(20, std::string(60, 'x'));
  prompts[0] = "short, first";
  const Submission large = house.Submit(prompts);
  const Submission small = house.Submit({"short, alone"});
  ASSERT_TRUE(house.Serve().ok());
  const auto completions = house.Completions();
  ASSERT_EQ(completions.size(), 2u);
  EXPECT_EQ(completions[0].cookie, small.cookie) << "it need not wait for the large request to end";
  EXPECT_EQ(completions[1].cookie, large.cookie);
  EXPECT_EQ(house.engine.batches[0], (std::vector<std::string>{"short, first", "short, alone"}));
}

TEST(Worker, SubmissionWithoutRowsIsAnswered) {
  WorkerHouse house;
  house.Submit(std::vector<std::string>());
  ASSERT_TRUE(house.Serve().ok());
  EXPECT_EQ(StatusOf(house.Completions().at(0)), CompletionStatus::kOk);
  EXPECT_TRUE(house.engine.batches.empty());
}

// A worker on its own thread, asleep between the submissions.
TEST(Worker, IsWokenForEverySubmission) {
  WorkerHouse house;
  WorkerThread serving(house);
  for (int i = 0; i < 500; ++i) {
    const std::vector<std::string> prompt = {"prompt " + std::to_string(i)};
    const Submission submission = house.Submit(prompt);
    house.lane.broker->RingReplica();
    ASSERT_EQ(house.AwaitCompletion().cookie, submission.cookie);
    ASSERT_TRUE(house.HasRightRows(submission, prompt));
  }
}

// Passes that cost the same however many prompts they have: three prompts are answered, one comes back.
TEST(Worker, GivesThoseItHasAnsweredAMomentToComeBack) {
  WorkerHouse house;
  using Clock = std::chrono::steady_clock;
  const std::vector<std::string> prompt = {"prompt"};
  const Submission first = house.Prepare(prompt), last = house.Prepare(prompt);
  const std::vector<Submission> three = {house.Prepare(prompt), house.Prepare(prompt), house.Prepare(prompt)};
  std::vector<std::pair<Clock::time_point, Clock::time_point>> passes;
  house.engine.on_run = [&] {
    const Clock::time_point begin = Clock::now();
    if (passes.empty()) {
      for (const Submission& submission : three) house.Submit(submission);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    passes.emplace_back(begin, Clock::now());
  };
  WorkerThread serving(house);
  const auto submit_and_wait_for = [&](const Submission& submission, size_t answers) {
    house.Submit(submission);
    house.lane.broker->RingReplica();
    for (; answers > 0; --answers) (void)house.AwaitCompletion();
  };
  submit_and_wait_for(first, 4);
  submit_and_wait_for(last, 1);
  serving.Drain();
  ASSERT_EQ(passes.size(), 3u);
  const auto [begin, end] = passes[1];
  const auto quarter = std::min<Clock::duration>((end - begin) / 4, std::chrono::milliseconds(20));
  // What a pass costs by itself is learned of these two.
  if (end - begin > std::chrono::milliseconds(60))
    GTEST_SKIP() << "too busy a machine: a pass of 40 ms took 60";
  EXPECT_GE(passes[2].first - end, quarter - std::chrono::microseconds(100));
}

TEST(Worker, EveryRowIsRightUnderRandomSubmissions) {
  WorkerHouse house;
  std::mt19937 random(41);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::pair<Submission, std::vector<std::string>>> submitted;
    for (uint32_t i = 0; i <= random() % 15; ++i) {
      std::vector<std::string> prompts(random() % 12);
      for (auto& prompt : prompts)
        prompt = std::string(random() % 100, static_cast<char>('a' + random() % 26));
      submitted.emplace_back(house.Submit(prompts), prompts);
    }
    ASSERT_TRUE(house.Serve().ok());
    ASSERT_EQ(house.Completions().size(), submitted.size());
    for (const auto& [submission, prompts] : submitted) ASSERT_TRUE(house.HasRightRows(submission, prompts));
  }
}

TEST(Worker, WorkIsProgressAndEndsIdle) {
  WorkerHouse house;
  const HeartbeatReader::Clock::time_point start(std::chrono::seconds(1));
  HeartbeatReader reader = house.lane.broker->MakeHeartbeatReader(start);
  house.engine.on_run = [&] { EXPECT_EQ(reader.phase(), Phase::kRunning); };
  house.Submit({"x"});
  ASSERT_TRUE(house.Serve().ok());
  reader.Look(start + std::chrono::seconds(9));
  EXPECT_EQ(reader.ProgressSilentFor(start + std::chrono::seconds(9)), std::chrono::seconds(0));
  EXPECT_EQ(house.engine.batches.size(), 1u);
}

}  // namespace
}  // namespace zerohop

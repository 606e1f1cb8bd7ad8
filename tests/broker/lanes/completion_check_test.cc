#include "broker/lanes/completion_check.h"

#include <gtest/gtest.h>

#include <set>

namespace zerohop {
namespace {

using enum CompletionVerdict;

Submission Expected() {
  Submission submission{};
  submission.cookie = 0xabcdef;
  submission.rows = 4;
  submission.response_length = 100;
  return submission;
}

Completion CompletionWith(CompletionStatus status, uint32_t rows) {
  Completion completion{};
  completion.cookie = 0xabcdef;
  completion.status = static_cast<uint32_t>(status);
  completion.rows = rows;
  return completion;
}

CompletionVerdict Verdict(const Completion& completion) {
  const Submission expected = Expected();
  return Check(completion, &expected);
}

TEST(CompletionCheck, EveryHonestAnswerIsGood) {
  EXPECT_EQ(Verdict(CompletionWith(CompletionStatus::kOk, 4)), kGood);
  EXPECT_EQ(Verdict(CompletionWith(CompletionStatus::kWithdrawn, 0)), kGood);
  for (CompletionStatus status : {CompletionStatus::kRejected, CompletionStatus::kFailed}) {
    Completion completion = CompletionWith(status, 0);
    completion.failed_prompt = 3;
    completion.detail_length = 100;
    EXPECT_EQ(Verdict(completion), kGood);
  }
}

TEST(CompletionCheck, AnswerToNothingIsRefused) {
  EXPECT_EQ(Check(CompletionWith(CompletionStatus::kOk, 4), nullptr), kNoSuchSlot);
}

TEST(CompletionCheck, ForeignCookieIsRefused) {
  Completion completion = CompletionWith(CompletionStatus::kOk, 4);
  completion.cookie ^= uint64_t{1} << 63;
  EXPECT_EQ(Verdict(completion), kForeignCookie);
}

TEST(CompletionCheck, UnknownStatusIsRefused) {
  for (uint32_t status : {4u, 5u, 1000u, ~0u}) {
    Completion completion = CompletionWith(CompletionStatus::kOk, 4);
    completion.status = status;
    EXPECT_EQ(Verdict(completion), kBadStatus) << status;
  }
}

TEST(CompletionCheck, AnotherNumberOfRowsIsRefused) {
  for (uint32_t rows : {0u, 3u, 5u, ~0u})
    EXPECT_EQ(Verdict(CompletionWith(CompletionStatus::kOk, rows)), kBadRows);
  for (auto status : {CompletionStatus::kRejected, CompletionStatus::kFailed, CompletionStatus::kWithdrawn}) {
    EXPECT_EQ(Verdict(CompletionWith(status, 1)), kBadRows);
  }
}

TEST(CompletionCheck, RowsWithADetailAreRefused) {
  Completion completion = CompletionWith(CompletionStatus::kOk, 4);
  completion.detail_length = 1;
  EXPECT_EQ(Verdict(completion), kBadRows);
}

TEST(CompletionCheck, DetailBeyondItsRegionIsRefused) {
  for (auto status : {CompletionStatus::kOk, CompletionStatus::kRejected, CompletionStatus::kFailed,
                      CompletionStatus::kWithdrawn}) {
    Completion completion = CompletionWith(status, 0);
    completion.detail_length = 101;
    EXPECT_EQ(Verdict(completion), kBadDetail);
  }
}

TEST(CompletionCheck, PromptThatWasNotSubmittedIsRefused) {
  for (auto status : {CompletionStatus::kRejected, CompletionStatus::kFailed}) {
    Completion completion = CompletionWith(status, 0);
    completion.failed_prompt = 4;
    EXPECT_EQ(Verdict(completion), kBadDetail);
  }
}

TEST(CompletionCheck, EveryVerdictHasWordsOfItsOwn) {
  std::set<std::string_view> words;
  for (auto verdict : {kGood, kNoSuchSlot, kForeignCookie, kBadStatus, kBadRows, kBadDetail}) {
    words.insert(Describe(verdict));
  }
  EXPECT_EQ(words.size(), 6u);
  EXPECT_EQ(words.count("unknown"), 0u);
}

}  // namespace
}  // namespace zerohop

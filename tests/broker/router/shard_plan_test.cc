#include "broker/router/shard_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace zerohop {
namespace {

RequestBody BodyOf(const std::vector<uint32_t>& lengths, PromptKind kind = PromptKind::kText) {
  RequestBody body;
  body.kind = kind;
  uint64_t at = 0;
  for (uint32_t length : lengths) {
    body.prompts.push_back({at, length});
    at += length;
  }
  return body;
}

TEST(EstimateTokens, IsNeverZeroAndNeverBeyondTheModel) {
  EXPECT_EQ(EstimateTokens(PromptKind::kText, 0, 512), 2u);
  EXPECT_EQ(EstimateTokens(PromptKind::kText, 40, 512), 12u);
  EXPECT_EQ(EstimateTokens(PromptKind::kText, ~0u, 512), 512u);
  EXPECT_EQ(EstimateTokens(PromptKind::kTokenIds, 40, 512), 10u);
  EXPECT_EQ(EstimateTokens(PromptKind::kTokenIds, 0, 512), 1u);
  EXPECT_EQ(EstimateTokens(PromptKind::kText, 40, 0), 1u);
}

TEST(ShardPlan, NoPromptsMakeNoShards) {
  EXPECT_TRUE(PlanShards(BodyOf({}), 512, 4, ShardLimits()).empty());
}

TEST(ShardPlan, SmallRequestStaysWhole) {
  EXPECT_EQ(PlanShards(BodyOf(std::vector<uint32_t>(5, 40)), 512, 4, ShardLimits()).size(), 1u);
}

TEST(ShardPlan, LargerRequestIsSpreadSoThatTheIdleEndTogether) {
  const auto plan = PlanShards(BodyOf(std::vector<uint32_t>(800, 40)), 512, 4, ShardLimits());
  EXPECT_EQ(plan.front().count, 100u) << "half of a replica's share";
  std::vector<uint64_t> replicas(4);  // tokens of each, where the least busy takes the next shard
  for (size_t i = 0; i < plan.size(); ++i) {
    if (i > 0) EXPECT_LE(plan[i].count, plan[i - 1].count);
    *std::min_element(replicas.begin(), replicas.end()) += plan[i].tokens;
  }
  const auto [least, most] = std::minmax_element(replicas.begin(), replicas.end());
  EXPECT_LE(*most - *least, ShardLimits().worthwhile_tokens);
}

TEST(ShardPlan, WhereShardsGoRoundInTurnAllAreAlike) {
  ShardLimits limits;
  limits.balanced = false;
  const auto plan = PlanShards(BodyOf(std::vector<uint32_t>(80, 40)), 512, 4, limits);
  ASSERT_EQ(plan.size(), 4u);
  for (const ShardRange& shard : plan) EXPECT_EQ(shard.count, 20u);
}

TEST(ShardPlan, SpreadsNoThinnerThanIsWorthwhile) {
  const auto plan = PlanShards(BodyOf(std::vector<uint32_t>(80, 40)), 512, 4, ShardLimits());
  ASSERT_EQ(plan.size(), 8u);
  for (const ShardRange& shard : plan) EXPECT_EQ(shard.count, 10u);
}

TEST(ShardPlan, NobodyIdleMeansNoSpreading) {
  EXPECT_EQ(PlanShards(BodyOf(std::vector<uint32_t>(80, 40)), 512, 0, ShardLimits()).size(), 1u);
}

TEST(ShardPlan, PromptBeyondALimitIsAShardOfItsOwn) {
  ShardLimits limits;
  limits.request_bytes = 100;
  const auto plan = PlanShards(BodyOf({10, 1000, 10}), 512, 1, limits);
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[1].first, 1u);
  EXPECT_EQ(plan[1].count, 1u);
}

TEST(ShardPlan, CoversEveryPromptOnceInOrderAndWithinItsLimits) {
  std::mt19937 random(13);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<uint32_t> lengths(random() % 200);
    for (uint32_t& length : lengths) length = random() % 3 == 0 ? random() % 5000 : random() % 100;
    const auto kind = random() % 2 == 0 ? PromptKind::kText : PromptKind::kTokenIds;
    const RequestBody body = BodyOf(lengths, kind);
    ShardLimits limits;
    limits.tokens = 1 + random() % 2000;
    limits.worthwhile_tokens = random() % 300;
    limits.request_bytes = 1 + random() % 10'000;
    limits.rows = 1 + random() % 50;
    limits.balanced = random() % 2 == 0;
    const uint32_t max_tokens = 1 + random() % 1000;
    const auto plan = PlanShards(body, max_tokens, random() % 6, limits);
    uint32_t next = 0;
    for (const ShardRange& shard : plan) {
      ASSERT_EQ(shard.first, next) << "no gap, no overlap";
      ASSERT_GT(shard.count, 0u);
      next += shard.count;
      uint64_t tokens = 0, bytes = 0;
      for (uint32_t i = shard.first; i < next; ++i) {
        tokens += EstimateTokens(kind, lengths[i], max_tokens);
        bytes += lengths[i];
      }
      ASSERT_EQ(shard.tokens, tokens);
      ASSERT_EQ(shard.request_bytes, bytes);
      if (shard.count == 1) continue;
      ASSERT_LE(shard.count, limits.rows);
      ASSERT_LE(tokens, limits.tokens);
      ASSERT_LE(bytes, limits.request_bytes);
    }
    ASSERT_EQ(next, lengths.size());
  }
}

}  // namespace
}  // namespace zerohop

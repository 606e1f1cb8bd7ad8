#include "replica_shim/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace zerohop {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr uint32_t kTokenCost = 2304;  // MiniLM
constexpr BatchLimits kLimits{.tokens = 768, .prompts = 32, .token_cost = kTokenCost};

uint64_t Cost(uint64_t sequences, uint64_t length, uint64_t token_cost = kTokenCost) {
  return sequences * length * (token_cost + length);
}

// Of the lengths that sequences come in: each prompt behind the one before, where it fits.
uint64_t LeastCostInOrder(const std::vector<uint32_t>& lengths, uint32_t token_cost) {
  const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
  uint64_t least = ~uint64_t{0};
  for (uint32_t length = 2; length < longest + 1000; length += length < 32 ? 2 : length < 64 ? 4 : 16) {
    if (length < longest) continue;
    uint64_t sequences = 1, used = 0;
    for (const uint32_t prompt : lengths) {
      if (used + prompt > length) ++sequences, used = 0;
      used += prompt;
    }
    least = std::min(least, Cost(sequences, length, token_cost));
  }
  return least;
}

std::vector<uint32_t> LengthsOf(const std::vector<uint32_t>& picked, const std::vector<uint32_t>& waiting) {
  std::vector<uint32_t> lengths;
  for (const uint32_t i : picked) lengths.push_back(waiting[i]);
  return lengths;
}

// Every prompt lies within a sequence, and no two on one token.
void ExpectApart(const Packing& packing, const std::vector<uint32_t>& lengths) {
  ASSERT_EQ(packing.places.size(), lengths.size());
  std::vector<int> taken(packing.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    ASSERT_LT(packing.places[i].sequence, packing.sequences);
    ASSERT_LE(packing.places[i].position + lengths[i], packing.length);
    for (uint32_t token = 0; token < lengths[i]; ++token) ++taken[packing.FirstToken(i) + token];
  }
  ASSERT_LE(*std::max_element(taken.begin(), taken.end()), 1);
}

TEST(Packing, LoneQueryRunsUnpadded) {
  for (uint32_t tokens = 1; tokens <= kQueryTokens; ++tokens) {
    const Packing packing = PackPrompts(std::vector<uint32_t>{tokens}, kTokenCost);
    EXPECT_EQ(packing.sequences, 1u);
    EXPECT_EQ(packing.length, tokens);
    EXPECT_EQ(PadPrompts(std::vector<uint32_t>{tokens}, 512).length, tokens);
  }
}

TEST(Packing, QueriesShareSequences) {
  const std::vector<uint32_t> lengths = {7, 3, 11, 5, 6, 9, 4, 7};
  const Packing packing = PackPrompts(lengths, kTokenCost);
  EXPECT_LT(packing.sequences, lengths.size());
  EXPECT_LE(packing.size(), 56u) << "52 tokens; padded to the longest they would take 96";
  ExpectApart(packing, lengths);
}

TEST(Packing, LongPromptsKeepSequencesOfTheirOwn) {
  const std::vector<uint32_t> lengths(8, 256);
  const Packing packing = PackPrompts(lengths, kTokenCost);
  EXPECT_EQ(packing.sequences, 8u);
  EXPECT_EQ(packing.length, 256u);
}

TEST(Packing, WhereAttentionIsDearSequencesStayShort) {
  const std::vector<uint32_t> lengths(16, 32);
  EXPECT_EQ(PackPrompts(lengths, /*token_cost=*/1).length, 32u);
}

TEST(Packing, LosesNoTokenAndCostsNoMoreThanPadding) {
  std::mt19937 random(5);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<uint32_t> lengths(1 + random() % 40);
    const uint32_t most = 1 + random() % 512;
    for (uint32_t& length : lengths) length = 1 + random() % most;
    const Packing packed = PackPrompts(lengths, kTokenCost);
    ExpectApart(packed, lengths);
    const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
    EXPECT_LE(Cost(packed.sequences, packed.length), Cost(lengths.size(), (longest + 7) / 8 * 8));
    const Packing padded = PadPrompts(lengths, most);
    ExpectApart(padded, lengths);
    EXPECT_EQ(padded.sequences, lengths.size());
    EXPECT_LE(padded.length, most);
  }
}

TEST(Packing, SmallBatchSharesOneSequenceUnpadded) {
  const Packing packing = PackPrompts(std::vector<uint32_t>{9, 4, 6}, kTokenCost);
  EXPECT_EQ(packing.sequences, 1u);
  EXPECT_EQ(packing.length, 19u);
}

TEST(Packing, PromptsThatFillASequenceTogetherShareIt) {
  const std::vector<uint32_t> lengths = {100, 90, 80, 12, 22, 32};
  const Packing packing = PackPrompts(lengths, kTokenCost);
  EXPECT_EQ(packing.sequences, 3u);
  EXPECT_EQ(packing.length, 112u) << "no padding at all";
  ExpectApart(packing, lengths);
}

TEST(PickToPack, ShortPromptsFillWhatLongOnesLeave) {
  // The oldest leaves 28 of 128 tokens: 28 fits, 24 and 60 do not as well.
  EXPECT_THAT(
      PickBatch(std::vector<uint32_t>{100, 24, 60, 28}, {.tokens = 128, .prompts = 8, .token_cost = 1 << 20}),
      UnorderedElementsAre(0, 3));
}

TEST(PickToPack, AllThatFitsRunsTogether) {
  EXPECT_EQ(PickBatch(std::vector<uint32_t>{7, 3, 11, 5, 6, 9, 4, 7}, kLimits).size(), 8u)
      << "what is left would wait for a pass of its own";
}

TEST(PickToPack, WhoIsLeftCostsAnotherPass) {
  EXPECT_EQ(PickBatch(std::vector<uint32_t>{16, 16, 16, 2}, kLimits).size(), 4u)
      << "6 tokens of padding cost less";
  std::vector<uint32_t> pool(7, 96);
  pool.push_back(50);
  EXPECT_EQ(PickBatch(pool, kLimits).size(), 7u) << "46 tokens of padding cost more";
}

TEST(PickToPack, LongerPromptsRunWithTheFirstUpToTwiceItsLength) {
  EXPECT_EQ(PickBatch(std::vector<uint32_t>{100, 150, 201}, kLimits).size(), 2u);
}

TEST(PickToPack, ChoosesFromTwoBatchesOfTheOldest) {
  const BatchLimits limits{.tokens = 128, .prompts = 2, .token_cost = 1 << 20};
  EXPECT_THAT(PickBatch(std::vector<uint32_t>{100, 60, 60, 60, 28}, limits), UnorderedElementsAre(0, 4));
  EXPECT_THAT(PickBatch(std::vector<uint32_t>{100, 60, 60, 60, 60, 28}, limits), ElementsAre(0));
}

TEST(PickToPack, ShortPromptDoesNotWaitForLongOnes) {
  EXPECT_THAT(PickBatch(std::vector<uint32_t>{7, 200, 120, 23, 24}, kLimits), UnorderedElementsAre(0, 3));
}

TEST(PickToPack, OldestRunsEvenBeyondEveryLimit) {
  EXPECT_THAT(PickBatch(std::vector<uint32_t>{5000, 5000}, {100, 10, kTokenCost}), ElementsAre(0));
  EXPECT_THAT(PickBatch(std::vector<uint32_t>{7}, {0, 0, kTokenCost}), ElementsAre(0));
}

TEST(PickToPack, PropertiesHoldForRandomPools) {
  std::mt19937 random(41);
  for (int round = 0; round < 5'000; ++round) {
    std::vector<uint32_t> lengths(1 + random() % 100);
    for (uint32_t& length : lengths) length = 1 + random() % (1u << (random() % 10));
    const BatchLimits limits{1 + static_cast<uint32_t>(random() % 2000),
                             1 + static_cast<uint32_t>(random() % 40),
                             1 + static_cast<uint32_t>(random() % 5000)};
    const auto batch = PickBatch(lengths, limits);
    ASSERT_THAT(batch, Contains(0u)) << "the oldest is always among them";
    ASSERT_EQ(std::set<uint32_t>(batch.begin(), batch.end()).size(), batch.size()) << "nobody runs twice";
    for (const uint32_t i : batch) {
      ASSERT_LT(i, lengths.size());
      ASSERT_LE(lengths[i], std::max(2 * lengths[0], lengths[0] + 16));
    }
    const std::vector<uint32_t> picked = LengthsOf(batch, lengths);
    const Packing packing = PackPrompts(picked, limits.token_cost);
    ExpectApart(packing, picked);
    ASSERT_LE(batch.size(), std::max(1u, limits.prompts));
    // They fit in the limit, or in what the oldest takes alone; and the packing that is taken costs no more.
    const uint64_t most = std::max(limits.tokens, lengths[0] + 15);
    ASSERT_LE(Cost(packing.sequences, packing.length, limits.token_cost), Cost(1, most, limits.token_cost));
    ASSERT_LE(Cost(packing.sequences, packing.length, limits.token_cost),
              LeastCostInOrder(picked, limits.token_cost));
  }
}

// What a server under load computes: prompts come as fast as they run, and some forty wait.
TEST(PickToPack, LeavesHardlyAnyPaddingWhereManyWait) {
  std::mt19937 random(43);
  std::geometric_distribution<uint32_t> beyond(0.015);
  std::vector<uint32_t> waiting;
  uint64_t tokens = 0, computed = 0;
  for (int pass = 0; pass < 500; ++pass) {
    while (waiting.size() < 40) waiting.push_back(std::min(256u, 5 + beyond(random)));
    std::vector<uint32_t> batch = PickBatch(waiting, kLimits);
    const std::vector<uint32_t> lengths = LengthsOf(batch, waiting);
    const Packing packing = PackPrompts(lengths, kTokenCost);
    computed += packing.size();
    tokens += std::accumulate(lengths.begin(), lengths.end(), 0u);
    std::sort(batch.rbegin(), batch.rend());
    for (const uint32_t i : batch) waiting.erase(waiting.begin() + i);
  }
  EXPECT_LT(static_cast<double>(computed - tokens), 0.02 * static_cast<double>(computed));
  EXPECT_GT(computed, 500u * 700u) << "and passes are full";
}

// Each shape costs a replica memory for good.
TEST(PickToPack, PassesComeInFewShapes) {
  std::mt19937 random(7);
  std::geometric_distribution<uint32_t> beyond(0.015);
  std::set<std::pair<uint32_t, uint32_t>> shapes;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint32_t> waiting(1 + random() % 40);
    for (uint32_t& length : waiting) length = std::min(256u, 3 + beyond(random));
    const Packing packing = PackPrompts(LengthsOf(PickBatch(waiting, kLimits), waiting), kTokenCost);
    shapes.emplace(packing.sequences, packing.length);
  }
  EXPECT_LE(shapes.size(), 350u);
}

}  // namespace
}  // namespace zerohop

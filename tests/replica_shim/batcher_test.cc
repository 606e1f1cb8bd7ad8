#include "replica_shim/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace zerohop {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

std::vector<uint32_t> Pick(const std::vector<uint32_t>& lengths, BatchLimits limits) {
  return PickBatch(lengths, limits);
}

TEST(Batcher, NothingWaitsNothingRuns) {
  EXPECT_THAT(Pick({}, {100, 10}), IsEmpty());
}

TEST(Batcher, AllThatFitsRunsTogether) {
  EXPECT_THAT(Pick({10, 12, 11}, {100, 10}), UnorderedElementsAre(0, 1, 2));
}

TEST(Batcher, OldestRunsEvenWhereItIsTheOddOne) {
  EXPECT_THAT(Pick({500, 10, 10, 10}, {100, 10}), ElementsAre(0));
  EXPECT_THAT(Pick({10, 500, 500}, {1000, 10}), ElementsAre(0))
      << "their padding would cost more than a pass";
}

TEST(Batcher, SinglePromptBeyondEveryLimitStillRuns) {
  EXPECT_THAT(Pick({5000}, {100, 10}), ElementsAre(0));
  EXPECT_THAT(Pick({5000, 5000}, {100, 10}), ElementsAre(0));
  EXPECT_THAT(Pick({7}, {0, 1}), ElementsAre(0));
}

TEST(Batcher, NearestLengthsAreChosenFirst) {
  EXPECT_THAT(Pick({20, 33, 21, 8, 19}, {63, 10}), UnorderedElementsAre(0, 2, 4));
}

TEST(Batcher, EmptyPromptsAreLikeAnyOthers) {
  EXPECT_THAT(Pick({0, 0, 0}, {2, 10}), testing::SizeIs(2)) << "each counts one token";
}

TEST(Batcher, PropertiesHoldForRandomPools) {
  std::mt19937 random(31);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint32_t> lengths(1 + random() % 40);
    for (uint32_t& length : lengths) length = random() % (1u << (random() % 12));
    const BatchLimits limits{1 + static_cast<uint32_t>(random() % 3000),
                             1 + static_cast<uint32_t>(random() % 20)};
    const auto batch = PickBatch(lengths, limits);
    ASSERT_FALSE(batch.empty());
    ASSERT_THAT(batch, Contains(0u)) << "the oldest is always among them";
    ASSERT_EQ(std::set<uint32_t>(batch.begin(), batch.end()).size(), batch.size()) << "nobody runs twice";
    uint32_t longest = 0, shortest = ~0u;
    for (uint32_t i : batch) {
      ASSERT_LT(i, lengths.size());
      longest = std::max(longest, lengths[i]);
      shortest = std::min(shortest, lengths[i]);
    }
    if (batch.size() == 1) continue;
    ASSERT_LE(batch.size(), limits.prompts);
    ASSERT_LE(uint64_t{longest} * batch.size(), limits.tokens);
    ASSERT_LE(longest - shortest, std::max(16u, longest / 4)) << "lengths are alike";
  }
}

// By running batch after batch, every prompt runs; the oldest never waits for more than the pass before.
TEST(Batcher, RepeatedPicksServeEverybody) {
  std::mt19937 random(32);
  std::vector<uint32_t> lengths(200);
  for (uint32_t& length : lengths) length = random() % 500;
  size_t passes = 0;
  while (!lengths.empty()) {
    auto batch = PickBatch(lengths, {1000, 16});
    std::sort(batch.rbegin(), batch.rend());
    for (uint32_t i : batch) lengths.erase(lengths.begin() + i);
    ASSERT_LE(++passes, 200u);
  }
}

}  // namespace
}  // namespace zerohop

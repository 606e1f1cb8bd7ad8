#include "replica_shim/engines/openvino/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace zerohop {
namespace {

constexpr uint32_t kTokenCost = 2304;  // MiniLM

uint64_t Cost(uint64_t rows, uint64_t length) {
  return rows * length * (kTokenCost + length);
}

// Every prompt lies within a row, and no two on one token.
void ExpectApart(const Packing& packing, const std::vector<uint32_t>& lengths) {
  ASSERT_EQ(packing.places.size(), lengths.size());
  std::vector<int> taken(packing.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    ASSERT_LT(packing.places[i].row, packing.rows);
    ASSERT_LE(packing.places[i].column + lengths[i], packing.length);
    for (uint32_t token = 0; token < lengths[i]; ++token) ++taken[packing.FirstToken(i) + token];
  }
  ASSERT_LE(*std::max_element(taken.begin(), taken.end()), 1);
}

TEST(Packing, LoneQueryRunsUnpadded) {
  for (uint32_t tokens = 1; tokens <= kQueryTokens; ++tokens) {
    const Packing packing = PackPrompts(std::vector<uint32_t>{tokens}, kTokenCost);
    EXPECT_EQ(packing.rows, 1u);
    EXPECT_EQ(packing.length, tokens);
    EXPECT_EQ(PadPrompts(std::vector<uint32_t>{tokens}, 512).length, tokens);
  }
}

TEST(Packing, QueriesShareRows) {
  const std::vector<uint32_t> lengths = {7, 3, 11, 5, 6, 9, 4, 7};
  const Packing packing = PackPrompts(lengths, kTokenCost);
  EXPECT_LT(packing.rows, lengths.size());
  EXPECT_LE(packing.size(), 56u) << "52 tokens; padded to the longest they would take 96";
  ExpectApart(packing, lengths);
}

TEST(Packing, LongPromptsKeepRowsOfTheirOwn) {
  const std::vector<uint32_t> lengths(8, 256);
  const Packing packing = PackPrompts(lengths, kTokenCost);
  EXPECT_EQ(packing.rows, 8u);
  EXPECT_EQ(packing.length, 256u);
}

TEST(Packing, WhereAttentionIsDearRowsStayShort) {
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
    EXPECT_LE(Cost(packed.rows, packed.length), Cost(lengths.size(), (longest + 7) / 8 * 8));
    const Packing padded = PadPrompts(lengths, most);
    ExpectApart(padded, lengths);
    EXPECT_EQ(padded.rows, lengths.size());
    EXPECT_LE(padded.length, most);
  }
}

}  // namespace
}  // namespace zerohop

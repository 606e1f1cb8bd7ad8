#include "replica_shim/engines/openvino/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace zerohop {
namespace {

constexpr uint32_t kTokenCost = 2304;  // MiniLM

uint64_t Cost(uint64_t sequences, uint64_t length) {
  return sequences * length * (kTokenCost + length);
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

// Each shape costs a replica memory for good.
TEST(Packing, BatchesOfAnyTextsComeInFewShapes) {
  std::mt19937 random(7);
  std::set<std::pair<uint32_t, uint32_t>> shapes;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint32_t> lengths;
    const uint32_t most = 1 + random() % 256;
    for (uint32_t tokens = 0; tokens < 768 && lengths.size() < 32; tokens += lengths.back()) {
      lengths.push_back(1 + random() % most);
    }
    const Packing packing = PackPrompts(lengths, kTokenCost);
    shapes.emplace(packing.sequences, packing.length);
  }
  EXPECT_LE(shapes.size(), 250u);
}

}  // namespace
}  // namespace zerohop

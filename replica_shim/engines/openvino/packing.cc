#include "replica_shim/engines/openvino/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace zerohop {
namespace {

// OpenVINO compiles and keeps kernels for every shape that it meets. So prompts that have sequences of their
// own are rounded up by a few percent (as they are, a mix of texts took 870 MB after 1,500 batches, and was
// still growing), and those that share one come in these lengths.
constexpr uint32_t kSharedLengths[] = {8,  12, 16, 20,  24,  28,  32,  40,  48, 56,
                                       64, 80, 96, 112, 128, 192, 256, 384, 512};

uint32_t OwnLength(uint32_t longest) {
  const uint32_t step = longest <= 16 ? 2 : longest <= 32 ? 4 : 8;
  return (longest + step - 1) / step * step;
}

bool IsQuery(std::span<const uint32_t> lengths) {
  return lengths.size() == 1 && lengths.front() <= kQueryTokens;
}

// Longest first, each into the first sequence with room.
Packing Share(std::span<const uint32_t> lengths, std::span<const uint32_t> longest_first, uint32_t length) {
  Packing packing{0, length, std::vector<Packing::Place>(lengths.size())};
  std::vector<uint32_t> used;  // by sequence
  for (const uint32_t prompt : longest_first) {
    auto sequence = std::find_if(used.begin(), used.end(),
                                 [&](uint32_t tokens) { return tokens + lengths[prompt] <= length; });
    if (sequence == used.end()) sequence = used.insert(sequence, 0);
    packing.places[prompt] = {static_cast<uint32_t>(sequence - used.begin()), *sequence};
    *sequence += lengths[prompt];
  }
  packing.sequences = static_cast<uint32_t>(used.size());
  return packing;
}

uint64_t CostOf(uint64_t tokens, uint32_t length, uint32_t token_cost) {
  return tokens * (uint64_t{token_cost} + length);
}

}  // namespace

Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost) {
  Packing cheapest = PadPrompts(lengths, std::numeric_limits<uint32_t>::max());
  if (lengths.size() == 1) return cheapest;
  std::vector<uint32_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0U);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });
  const uint64_t tokens = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  uint64_t least_cost = CostOf(cheapest.size(), cheapest.length, token_cost);
  for (const uint32_t length : kSharedLengths) {
    if (length < lengths[longest_first.front()]) continue;
    if (CostOf(tokens, length, token_cost) >= least_cost) break;  // dearer even without any padding
    Packing packing = Share(lengths, longest_first, length);
    const uint64_t cost = CostOf(packing.size(), length, token_cost);
    if (cost >= least_cost) continue;
    least_cost = cost;
    cheapest = std::move(packing);
  }
  return cheapest;
}

Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens) {
  const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
  Packing packing;
  packing.sequences = static_cast<uint32_t>(lengths.size());
  packing.length = IsQuery(lengths) ? longest : std::max(longest, std::min(OwnLength(longest), max_tokens));
  for (uint32_t prompt = 0; prompt < packing.sequences; ++prompt) packing.places.push_back({prompt, 0});
  return packing;
}

}  // namespace zerohop

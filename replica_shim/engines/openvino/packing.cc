#include "replica_shim/engines/openvino/packing.h"

#include <algorithm>
#include <numeric>

namespace zerohop {
namespace {

bool IsQuery(std::span<const uint32_t> lengths) {
  return lengths.size() == 1 && lengths.front() <= kQueryTokens;
}

// OpenVINO compiles and keeps kernels for every shape that it meets, so prompts that have rows of their own
// are rounded up by a few percent, and rows of several come in few lengths. Where each had the
// length that it needs, padded rows of mixed texts took 870 MB after 1,500 batches, and packed ones 280 MB
// more than padded; both were still growing.
uint32_t PaddedLength(uint32_t longest) {
  const uint32_t step = longest <= 16 ? 2 : longest <= 32 ? 4 : 8;
  return (longest + step - 1) / step * step;
}

// The next length for rows of several; 0: none is longer.
uint32_t NextLength(uint32_t length) {
  constexpr uint32_t kLengths[] = {8,  12, 16, 20,  24,  28,  32,  40,  48, 56,
                                   64, 80, 96, 112, 128, 192, 256, 384, 512};
  const auto* next = std::upper_bound(std::begin(kLengths), std::end(kLengths), length);
  return next != std::end(kLengths) ? *next : 0;
}

// Longest first, each into the first row with room.
Packing PackRows(std::span<const uint32_t> lengths, std::span<const uint32_t> longest_first,
                 uint32_t length) {
  Packing packing{0, length, std::vector<Packing::Place>(lengths.size())};
  std::vector<uint32_t> used;  // by row
  for (const uint32_t prompt : longest_first) {
    auto row = std::find_if(used.begin(), used.end(),
                            [&](uint32_t tokens) { return tokens + lengths[prompt] <= length; });
    if (row == used.end()) row = used.insert(row, 0);
    packing.places[prompt] = {static_cast<uint32_t>(row - used.begin()), *row};
    *row += lengths[prompt];
  }
  packing.rows = static_cast<uint32_t>(used.size());
  return packing;
}

}  // namespace

Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost) {
  std::vector<uint32_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0U);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });
  const uint32_t longest = lengths[longest_first.front()];
  if (IsQuery(lengths)) return PackRows(lengths, longest_first, longest);
  const uint64_t tokens = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  Packing cheapest;
  uint64_t least_cost = UINT64_MAX;
  for (uint32_t length = PaddedLength(longest); length != 0; length = NextLength(length)) {
    if (tokens * (token_cost + length) >= least_cost) break;  // dearer even without any padding
    Packing packing = PackRows(lengths, longest_first, length);
    const uint64_t cost = uint64_t{packing.rows} * length * (token_cost + length);
    if (cost >= least_cost) continue;
    least_cost = cost;
    cheapest = std::move(packing);
  }
  return cheapest;
}

Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens) {
  const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
  Packing packing;
  packing.rows = static_cast<uint32_t>(lengths.size());
  packing.length =
      IsQuery(lengths) ? longest : std::max(longest, std::min(PaddedLength(longest), max_tokens));
  for (uint32_t row = 0; row < packing.rows; ++row) packing.places.push_back({row, 0});
  return packing;
}

}  // namespace zerohop

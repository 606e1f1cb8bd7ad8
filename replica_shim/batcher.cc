#include "replica_shim/batcher.h"

#include <algorithm>
#include <numeric>

#include "replica_shim/packing.h"

namespace zerohop {
namespace {

// Lengths that may share a batch: within 16 tokens, or a quarter of the longer.
bool Alike(uint32_t shorter, uint32_t longer) {
  return longer - shorter <= std::max(16u, longer / 4);
}

}  // namespace

std::vector<uint32_t> PickBatch(std::span<const uint32_t> lengths, const BatchLimits& limits) {
  if (lengths.empty()) return {};
  if (limits.token_cost > 0) return PickToPack(lengths, limits);
  std::vector<uint32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] < lengths[b]; });
  // [low, high): a run of neighbours by length that grows around the oldest prompt.
  size_t low = std::find(order.begin(), order.end(), 0u) - order.begin();
  size_t high = low + 1;
  auto length_at = [&](size_t i) { return lengths[order[i]]; };
  auto fits = [&](size_t from, size_t to) {
    const uint64_t padded = uint64_t{to - from} * std::max(1u, length_at(to - 1));
    return to - from <= limits.prompts && padded <= limits.tokens &&
           Alike(length_at(from), length_at(to - 1));
  };
  for (;;) {
    const bool down = low > 0 && fits(low - 1, high);
    const bool up = high < order.size() && fits(low, high + 1);
    if (!down && !up) break;
    // The nearer neighbour first.
    const bool take_down =
        down && (!up || length_at(high - 1) - length_at(low - 1) <= length_at(high) - length_at(low));
    take_down ? --low : ++high;
  }
  return {order.begin() + static_cast<ptrdiff_t>(low), order.begin() + static_cast<ptrdiff_t>(high)};
}

}  // namespace zerohop

#pragma once

// Batcher: which of the waiting prompts run together in the next pass.
//
// Padding is what a batch costs beyond its work, so prompts of like length run
// together, or those that fill an engine's sequences best (packing.h); waiting
// is what a client feels, so the oldest prompt is always among them. When to run
// is not decided here (linger.h).
// A pure function of lengths and arrival order; the worker owns the prompts.

#include <cstdint>
#include <span>
#include <vector>

namespace zerohop {

struct BatchLimits {
  uint32_t tokens = 0;  // padding included, to within what lengths are rounded by; a longer prompt still runs
  uint32_t prompts = 0;  // at least 1
  // Of an engine whose sequences take several prompts: what a token costs in all layers but attention, as a
  // multiple of what it costs attention to look at one token. 0: each prompt is padded to the longest.
  uint32_t token_cost = 0;
};

// `lengths` in tokens, in the order in which the prompts shall be served.
// Returns indices into it, the first of the order among them; never empty
// unless `lengths` is.
std::vector<uint32_t> PickBatch(std::span<const uint32_t> lengths, const BatchLimits& limits);

}  // namespace zerohop

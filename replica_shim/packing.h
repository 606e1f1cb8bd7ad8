#pragma once

// Packing: where each prompt of a batch lies in the model's input, for engines
// whose sequences take several prompts, one behind the other, so that little of
// the input is padding.
//
// Longer sequences have less padding, but attention looks from each token at its
// whole sequence, so the cheapest length is taken. Which of the prompts that
// wait go into a pass is a part of the same question: those that fill sequences
// best. Pure.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "replica_shim/batcher.h"

namespace zerohop {

// Up to this many tokens a pass is for queries, whose latency counts: it runs unpadded.
constexpr uint32_t kQueryTokens = 32;

struct Packing {
  struct Place {
    uint32_t sequence = 0;
    uint32_t position = 0;  // of the first token
  };
  uint32_t sequences = 0;
  uint32_t length = 0;        // tokens in a sequence, padding included
  std::vector<Place> places;  // by prompt

  size_t size() const { return size_t{sequences} * length; }
  // In all sequences together.
  size_t FirstToken(size_t prompt) const {
    return size_t{places[prompt].sequence} * length + places[prompt].position;
  }
};

// PickBatch for limits with a token cost. What is picked is at most twice as long as the first, or 16 tokens
// longer if that is more: a short prompt shall not wait for a pass over long ones. It is in the order in
// which PackPrompts finds a packing no dearer than was thought here.
std::vector<uint32_t> PickToPack(std::span<const uint32_t> lengths, const BatchLimits& limits);

// `lengths`: tokens of each prompt, at least one prompt and one token. `token_cost`: as in BatchLimits.
Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost);

// A sequence for each prompt, for graphs that know nothing of packing; none is longer than `max_tokens`,
// unless a prompt is.
Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens);

}  // namespace zerohop

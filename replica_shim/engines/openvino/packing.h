#pragma once

// Packing: where each prompt of a batch lies in the model's input.
//
// A sequence of the input takes several short prompts, one behind the other, so
// that little of it is padding; the graph keeps them apart. Longer sequences have
// less padding, but attention looks from each token at its whole sequence, so
// the cheapest of a few lengths is taken. Pure.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace zerohop {

// Up to this many tokens a lone prompt is a query whose latency counts: it runs unpadded.
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

// `lengths`: tokens of each prompt, at least one prompt and one token. `token_cost`: what a token costs in
// all layers but attention, as a multiple of what it costs attention to look at one token.
Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost);

// A sequence for each prompt, for graphs that know nothing of packing; none is longer than `max_tokens`,
// unless a prompt is.
Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens);

}  // namespace zerohop

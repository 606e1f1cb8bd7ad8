#pragma once

// Packing: where each prompt of a batch lies in the model's input.
//
// A row of the input takes several short prompts, one behind the other, so that
// little of it is padding; the graph keeps them apart. Longer rows hold more of
// them, but attention looks from each token at its whole row, so the
// cheapest of a few lengths is taken. Pure.

#include <cstdint>
#include <span>
#include <vector>

namespace zerohop {

// Up to this many tokens a lone prompt is a query whose latency counts: it runs unpadded.
constexpr uint32_t kQueryTokens = 32;

struct Packing {
  struct Place {
    uint32_t row = 0;
    uint32_t column = 0;  // of the first token
  };
  uint32_t rows = 0;
  uint32_t length = 0;        // tokens in a row, padding included
  std::vector<Place> places;  // by prompt

  size_t size() const { return size_t{rows} * length; }
  // In all rows together.
  size_t FirstToken(size_t prompt) const {
    return size_t{places[prompt].row} * length + places[prompt].column;
  }
};

// `lengths`: tokens of each prompt, at least one prompt and one token. `token_cost`: what a token costs in
// all layers but attention, in columns of attention.
Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost);

// A row for each prompt, for graphs that know nothing of packing; no row is longer than `max_tokens`.
Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens);

}  // namespace zerohop

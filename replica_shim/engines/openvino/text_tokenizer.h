#pragma once

// TextTokenizer: what turns texts into the token ids that a model takes.
//
// One thread at a time; texts are read during the call only. Implementations
// may throw what OpenVINO throws; the engine catches at its edge.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace zerohop {

class TextTokenizer {
 public:
  virtual ~TextTokenizer() = default;

  // Token ids of each text, special tokens included, truncated to the limit
  // that the tokenizer was made with. Never empty unless the model adds no special tokens.
  virtual std::vector<std::vector<int32_t>> Tokenize(std::span<const std::string_view> texts) = 0;
};

}  // namespace zerohop

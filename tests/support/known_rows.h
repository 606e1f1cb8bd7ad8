#pragma once

// Known rows: an embedding that is a function of its prompt's bytes, so that a
// test can tell whether a row is the answer to its own prompt.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "shm/row.h"

namespace zerohop {

inline uint32_t PromptHash(std::string_view prompt) {
  uint32_t hash = 2166136261u;
  for (char c : prompt) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

// Float `i` of the row that belongs to a prompt of this hash.
inline float KnownValue(uint32_t prompt_hash, uint32_t i) {
  return static_cast<float>((prompt_hash ^ (i + 1) * 2654435761u) * 16777619u >> 8);
}

// The rows of `prompts`, as they must lie in a response region.
template <typename Prompts>
std::string KnownRows(const Prompts& prompts, uint32_t dim) {
  std::string rows(prompts.size() * RowBytes(dim), '\0');
  auto* row = reinterpret_cast<std::byte*>(rows.data());
  for (const auto& prompt : prompts) {
    const uint32_t hash = PromptHash(prompt);
    for (uint32_t i = 0; i < dim; ++i) {
      const float value = KnownValue(hash, i);
      std::memcpy(row + i * sizeof value, &value, sizeof value);
    }
    row += RowBytes(dim);
  }
  return rows;
}

}  // namespace zerohop

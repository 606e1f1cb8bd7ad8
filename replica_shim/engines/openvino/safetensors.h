#pragma once

// Safetensors: the named weights inside a .safetensors file.
//
// Pure functions over bytes, callable on any thread. The views point into the
// bytes that were parsed and live as long as they do; nothing is copied.
// The bytes are input: any sequence of them gives a result or one sentence, and
// every view of a result lies inside them. As in the reference reader, the
// tensors must cover the data without holes or overlaps, in any order.
// It does not convert values, and it does not know what a model needs.

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace zerohop {

struct TensorView {
  std::string dtype;                 // as the file writes it: "F32", "F16", "BF16", "I64", ...
  std::vector<size_t> shape;         // empty: one value
  std::span<const std::byte> bytes;  // little endian, row-major; of any alignment
};

using TensorMap = std::map<std::string, TensorView, std::less<>>;

absl::StatusOr<TensorMap> ParseSafetensors(std::span<const std::byte> file);

}  // namespace zerohop

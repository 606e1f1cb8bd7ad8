#pragma once

// Row: one embedding as it lies in a response region: `dim` little-endian
// floats and nothing else. The rows of a region lie side by side from its first
// byte, so it is one contiguous (rows, dim) array, aligned as the region is.
// What frames a row on the wire is the front's: broker/front/row_frame.h.

#include <cstddef>
#include <cstdint>

namespace zerohop {

inline constexpr uint32_t kMaxDim = (1u << 21) / sizeof(float) - 1;  // what the wire's frame can say

inline size_t RowBytes(uint32_t dim) {
  return size_t{dim} * sizeof(float);
}

}  // namespace zerohop

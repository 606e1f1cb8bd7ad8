#pragma once

// RowFrame: what stands before the floats of each row of an EncodeResponse.
//
//   byte  field
//      0  tag     0x22: field 4 (embedding_bytes_fp32), length-delimited
//      1  length  dim x 4 as a varint of exactly 3 bytes

#include <array>
#include <cstddef>
#include <cstdint>

#include "shm/row.h"

namespace zerohop {

inline constexpr size_t kRowFrameBytes = 4;
static_assert(uint64_t{kMaxDim} * sizeof(float) < 1u << 21, "three bytes of a varint can say it");

inline std::array<uint8_t, kRowFrameBytes> RowFrame(uint32_t dim) {
  const uint32_t length = dim * sizeof(float);
  // The first two bytes carry the continuation bit even where the rest is zero: valid, if not shortest.
  return {0x22, static_cast<uint8_t>(length | 0x80), static_cast<uint8_t>(length >> 7 | 0x80),
          static_cast<uint8_t>(length >> 14 & 0x7f)};
}

}  // namespace zerohop

#pragma once

// Row: one embedding as it lies in a response region, framed as the wire wants
// it, so that the region is the body of an EncodeResponse and nobody copies it.
//
//   byte  field
//      0  tag     0x22: field 4 (embedding_bytes_fp32), length-delimited
//      1  length  dim x 4 as a varint of exactly 3 bytes
//      4  floats  dim little-endian floats, 4-byte aligned

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace zerohop {

inline constexpr size_t kRowHeaderBytes = 4;
inline constexpr uint32_t kMaxDim = (1u << 21) / sizeof(float) - 1;  // what a 3-byte varint can say

inline size_t RowBytes(uint32_t dim) {
  return kRowHeaderBytes + size_t{dim} * sizeof(float);
}

inline std::array<uint8_t, kRowHeaderBytes> RowHeader(uint32_t dim) {
  const uint32_t length = dim * sizeof(float);
  // The first two bytes carry the continuation bit even where the rest is zero: valid, if not shortest.
  return {0x22, static_cast<uint8_t>(length | 0x80), static_cast<uint8_t>(length >> 7 | 0x80),
          static_cast<uint8_t>(length >> 14 & 0x7f)};
}

// Writes the header; returns where the floats go.
inline float* BeginRow(std::byte* row, uint32_t dim) {
  const auto header = RowHeader(dim);
  std::memcpy(row, header.data(), header.size());
  return reinterpret_cast<float*>(row + kRowHeaderBytes);
}

inline bool HasRowHeader(const std::byte* row, uint32_t dim) {
  const auto header = RowHeader(dim);
  return std::memcmp(row, header.data(), header.size()) == 0;
}

}  // namespace zerohop

// Compiled with -ffp-contract=off: of a product and a sum no compiler may make one operation.

#include "replica_shim/cuda/pool_on_cpu.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace zerohop {
namespace {

// A number of 16 bits by what they mean, which fp32 holds exactly.
float FromParts(uint16_t bits, int exponent_bits, int fraction_bits) {
  const float sign = (bits >> 15) != 0 ? -1.0f : 1.0f;
  const int largest = (1 << exponent_bits) - 1;
  const int exponent = (bits >> fraction_bits) & largest;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int bias = largest >> 1;
  if (exponent == largest) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : sign * std::numeric_limits<float>::infinity();
  }
  const int hidden = exponent == 0 ? 0 : 1 << fraction_bits;
  const int scale = (exponent == 0 ? 1 : exponent) - bias - fraction_bits;
  return sign * std::ldexp(static_cast<float>(hidden + fraction), scale);
}

float ElementAt(const void* tokens, TokenType type, size_t index) {
  const auto* at = static_cast<const unsigned char*>(tokens) + index * BytesOf(type);
  if (type == TokenType::kFloat32) {
    float element;
    std::memcpy(&element, at, sizeof element);
    return element;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return type == TokenType::kFloat16 ? FromParts(bits, 5, 10) : FromParts(bits, 8, 7);
}

void PoolPrompt(const PoolShape& shape, const void* tokens, size_t prompt, float* v) {
  const size_t first = shape.offsets[prompt];
  const size_t length = shape.offsets[prompt + 1] - first;
  const auto x = [&](size_t t, size_t d) {
    return ElementAt(tokens, shape.type, (first + t) * shape.dim + d);
  };
  for (size_t d = 0; d < shape.dim; ++d) {
    switch (shape.pooling) {
      case TokenPooling::kMean: {
        float sum = x(0, d);
        for (size_t t = 1; t < length; ++t) sum = sum + x(t, d);
        v[d] = sum / static_cast<float>(length);
        break;
      }
      case TokenPooling::kFirst:
        v[d] = x(0, d);
        break;
      case TokenPooling::kLast:
        v[d] = x(length - 1, d);
        break;
    }
  }
}

float NormOf(std::span<const float> v) {
  std::vector<float> sums(1024, 0.0f);
  for (size_t d = 0; d < v.size(); ++d) {
    const float square = v[d] * v[d];
    sums[d % 1024] = sums[d % 1024] + square;
  }
  while (sums.size() > 1) {  // the upper half is folded onto the lower
    const size_t half = sums.size() / 2;
    for (size_t i = 0; i < half; ++i) sums[i] = sums[i] + sums[half + i];
    sums.resize(half);
  }
  const float norm = std::sqrt(sums[0]);
  return 1e-12f > norm ? 1e-12f : norm;
}

}  // namespace

void PoolOnCpu(const PoolShape& shape, const void* tokens, std::span<float* const> rows) {
  for (size_t prompt = 0; prompt < rows.size(); ++prompt) {
    float* row = rows[prompt];
    PoolPrompt(shape, tokens, prompt, row);
    if (!shape.normalize) continue;
    const float norm = NormOf({row, shape.dim});
    for (size_t d = 0; d < shape.dim; ++d) row[d] = row[d] / norm;
  }
}

}  // namespace zerohop

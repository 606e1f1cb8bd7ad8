#pragma once

// Batches for tests of the pooling kernel and its twin: of every type, pooling and
// odd size, made by a generator that is the same on every machine.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "replica_shim/cuda/pool_shape.h"

namespace zerohop::pool_test {

enum class Values {
  kEven,  // small multiples of 1/64, which every type holds exactly
  kWild,  // of each prompt another kind: ordinary, zeros, subnormals, tiny, huge, with a NaN or an infinity
};

struct PoolCase {
  TokenType type = TokenType::kFloat32;
  TokenPooling pooling = TokenPooling::kMean;
  bool normalize = true;
  size_t dim = 1;
  std::vector<uint32_t> lengths;
  Values values = Values::kWild;
};
std::string NameOf(const PoolCase& pool_case);

// Every type, pooling and way to end, with dims around the sizes of warps and blocks, and prompts of one
// token and of many.
std::vector<PoolCase> EveryCase(Values values);
// More prompts than one launch takes.
PoolCase ManyPrompts();
inline constexpr TokenType kTypes[] = {TokenType::kFloat32, TokenType::kFloat16, TokenType::kBfloat16};
inline constexpr TokenPooling kPoolings[] = {TokenPooling::kMean, TokenPooling::kFirst, TokenPooling::kLast};

// A batch in host memory.
class PoolBatch {
 public:
  explicit PoolBatch(PoolCase pool_case);

  PoolShape shape() const;
  size_t prompts() const { return case_.lengths.size(); }
  size_t dim() const { return case_.dim; }
  std::span<const std::byte> tokens() const { return tokens_; }
  // An element as it was meant, of even values.
  double At(size_t token, size_t d) const { return meant_[token * case_.dim + d]; }
  // Rows by the twin, side by side.
  std::vector<float> RowsOnCpu() const;

 private:
  void Append(uint32_t bits);
  void AppendEven();
  void AppendWild();

  PoolCase case_;
  std::mt19937 random_;
  std::vector<uint32_t> offsets_;
  std::vector<std::byte> tokens_;
  std::vector<double> meant_;
};

// The same bits, or NaNs both.
bool Same(float a, float b);
// As rows of `dim` floats; says where the first difference is.
testing::AssertionResult SameRows(std::span<const float> expected, std::span<const float> got, size_t dim);

}  // namespace zerohop::pool_test

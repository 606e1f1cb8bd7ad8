#pragma once

// PoolShape: token embeddings of a batch, and what becomes of them; and the order
// of arithmetic that makes it the same everywhere, which the kernel (pool_block.h)
// and its twin on the CPU (pool_on_cpu.cc) follow, each by itself.
//
// Of each prompt, with tokens x[0] … x[length - 1], every operation in fp32,
// correctly rounded to the nearest, subnormals kept, none contracted with another:
//
//   widen      every element to fp32, which is exact
//   pool       mean: s[d] = x[0][d], then s[d] = s[d] + x[t][d] for t = 1, 2, …;
//              v[d] = s[d] / float(length)
//              first: v[d] = x[0][d]; last: v[d] = x[length - 1][d]
//   norm       of 1024 sums p, each from 0: p[d mod 1024] = p[d mod 1024] + v[d] * v[d] for d = 0, 1, …
//              then for w = 512, 256, … 1: p[i] = p[i] + p[i + w] for each i < w
//              n = sqrt(p[0]), but 1e-12 where that is more; n stays a NaN
//   row        normalized: v[d] / n; otherwise v[d]
//
// So a row of zeros stays one, and squares that overflow make a row of zeros, as
// in torch.nn.functional.normalize. A NaN is one on both sides; its bits are not told.

#include <cstddef>
#include <cstdint>
#include <span>

namespace zerohop {

enum class TokenType : uint32_t { kFloat32, kFloat16, kBfloat16 };
enum class TokenPooling : uint32_t { kMean, kFirst, kLast };

constexpr size_t BytesOf(TokenType type) {
  return type == TokenType::kFloat32 ? 4 : 2;
}

// Of prompts that lie one after the other, without padding: a matrix of one line a token.
struct PoolShape {
  TokenType type = TokenType::kFloat32;
  TokenPooling pooling = TokenPooling::kMean;
  bool normalize = true;
  size_t dim = 0;                     // elements of a token, and floats of a row; at least 1
  std::span<const uint32_t> offsets;  // in tokens: prompt i is [offsets[i], offsets[i + 1]), and not empty
};

}  // namespace zerohop

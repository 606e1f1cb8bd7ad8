#pragma once

// PoolJob: the one parameter of the kernels, which are zerohop_pool_float32,
// zerohop_pool_float16 and zerohop_pool_bfloat16 by the type of the tokens.
// A block of kPoolThreads threads for each prompt.
//
// Where prompts begin and where their rows go is in the parameter itself: the
// driver takes a copy of it with the launch, so there is no memory that an earlier
// launch may still read. A larger batch is several launches.
//
// Read by nvcc as well.

#include <cstdint>

#include "replica_shim/cuda/pool_shape.h"

namespace zerohop {

// As many as a block may have: a prompt is one block's, and more threads keep more of its tokens on the way.
inline constexpr uint32_t kPoolThreads = 1024;
inline constexpr uint32_t kPoolPrompts = 256;  // of one launch, at most

// Elements of 16 bits, as their bits.
struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

struct PoolJob {
  uint64_t tokens;  // device address of the first token of the batch
  uint64_t dim;
  TokenPooling pooling;
  uint32_t normalize;
  uint64_t rows[kPoolPrompts];       // device addresses
  uint32_t first[kPoolPrompts + 1];  // PoolShape::offsets of these prompts
};
static_assert(sizeof(PoolJob) <= 4096, "what every driver takes as parameters of a launch");

}  // namespace zerohop

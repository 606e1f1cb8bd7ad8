#pragma once

// PoolBlock: the body of the kernel, what one block does for its prompt, in the
// order of pool_shape.h. Written for a machine, so that the same source runs on a
// GPU (pool_kernel.cu) and, for tests, on the host (tests/fake_cuda/host_machine.h).
// A machine has
//
//   EachThread(body)        calls body(thread) of every thread of the block; what one of them
//                           wrote is seen by all in the next EachThread: a barrier lies between
//   Read<T>(address, count), Write<T>(address, count)
//                           device memory that the block is about to use, all of it
//   Add, Multiply, Divide, SquareRoot, Widen
//                           arithmetic: correctly rounded, never contracted
//
// Within an EachThread no thread may depend on another.
//
// Read by nvcc as well.

#include <cstdint>

#include "replica_shim/cuda/pool_job.h"

#ifndef ZEROHOP_KERNEL
#define ZEROHOP_KERNEL  // for nvcc, what makes it a function of the device
#endif

namespace zerohop {

inline constexpr float kSmallestNorm = 1e-12f;

// `sums`: kPoolThreads floats that the threads of the block share.
template <typename Element, typename Machine>
ZEROHOP_KERNEL void PoolBlock(const Machine& machine, const PoolJob& job, uint32_t block, float* sums) {
  // The first or the last token is the mean of that token alone: dividing by 1 changes nothing.
  const uint32_t end = job.first[block + 1];
  const uint32_t first = job.pooling == TokenPooling::kLast ? end - 1 : job.first[block];
  const uint32_t length = job.pooling == TokenPooling::kMean ? end - first : 1;
  const uint64_t dim = job.dim;
  const Element* tokens =
      machine.template Read<Element>(job.tokens + first * dim * sizeof(Element), length * dim);
  float* row = machine.template Write<float>(job.rows[block], dim);

  machine.EachThread([&](uint32_t thread) {
    float squares = 0;
    for (uint64_t d = thread; d < dim; d += kPoolThreads) {
      float sum = Machine::Widen(tokens[d]);
      for (uint32_t t = 1; t < length; ++t) sum = Machine::Add(sum, Machine::Widen(tokens[t * dim + d]));
      const float pooled = Machine::Divide(sum, static_cast<float>(length));
      row[d] = pooled;
      squares = Machine::Add(squares, Machine::Multiply(pooled, pooled));
    }
    sums[thread] = squares;
  });
  if (job.normalize == 0) return;

  for (uint32_t width = kPoolThreads / 2; width > 0; width /= 2) {
    machine.EachThread([&](uint32_t thread) {
      if (thread < width) sums[thread] = Machine::Add(sums[thread], sums[thread + width]);
    });
  }

  machine.EachThread([&](uint32_t thread) {
    const float norm = Machine::SquareRoot(sums[0]);
    const float divisor = norm < kSmallestNorm ? kSmallestNorm : norm;  // a NaN is not less than anything
    for (uint64_t d = thread; d < dim; d += kPoolThreads) row[d] = Machine::Divide(row[d], divisor);
  });
}

}  // namespace zerohop

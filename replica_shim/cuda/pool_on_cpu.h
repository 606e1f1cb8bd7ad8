#pragma once

// PoolOnCpu: the twin of the kernel, in plain C++. What the kernel computes is
// compared with it bit for bit, so it shares no code with the kernel but the
// order of arithmetic that both follow (pool_shape.h). Not made to be fast.

#include <span>

#include "replica_shim/cuda/pool_shape.h"

namespace zerohop {

// `tokens`: offsets.back() * dim elements; rows[i]: dim floats for prompt i.
void PoolOnCpu(const PoolShape& shape, const void* tokens, std::span<float* const> rows);

}  // namespace zerohop

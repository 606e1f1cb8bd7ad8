#pragma once

// PoolImage: pool_kernel.cu as nvcc compiled it, code for several generations of
// GPUs and PTX for those to come; part of the program. Empty where the build had no nvcc.

#include <cstddef>
#include <span>

namespace zerohop {

std::span<const std::byte> PoolImage();

}  // namespace zerohop

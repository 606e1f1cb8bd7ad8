// The kernels: pool_block.h on a GPU. nvcc makes an image of this, which the driver
// loads (pool_kernel.h); no program links it.

#include <cuda_fp16.h>

#define ZEROHOP_KERNEL __device__ __forceinline__
#include "replica_shim/cuda/pool_block.h"

namespace zerohop {
namespace {

// Intrinsics that name their rounding: the compiler contracts none of them, and takes no quicker one instead.
struct Gpu {
  template <typename Body>
  __device__ void EachThread(Body body) const {
    body(threadIdx.x);
    __syncthreads();
  }
  template <typename T>
  __device__ const T* Read(uint64_t address, uint64_t) const {
    return reinterpret_cast<const T*>(address);
  }
  template <typename T>
  __device__ T* Write(uint64_t address, uint64_t) const {
    return reinterpret_cast<T*>(address);
  }
  __device__ static float Add(float a, float b) { return __fadd_rn(a, b); }
  __device__ static float Multiply(float a, float b) { return __fmul_rn(a, b); }
  __device__ static float Divide(float a, float b) { return __fdiv_rn(a, b); }
  __device__ static float SquareRoot(float a) { return __fsqrt_rn(a); }
  __device__ static float Widen(float element) { return element; }
  __device__ static float Widen(Float16 element) { return __half2float(__ushort_as_half(element.bits)); }
  __device__ static float Widen(Bfloat16 element) {
    return __uint_as_float(static_cast<uint32_t>(element.bits) << 16);
  }
};

template <typename Element>
__device__ __forceinline__ void Pool(const PoolJob& job) {
  __shared__ float sums[kPoolThreads];
  PoolBlock<Element>(Gpu(), job, blockIdx.x, sums);
}

}  // namespace
}  // namespace zerohop

using zerohop::kPoolThreads;
using zerohop::PoolJob;

extern "C" {

__global__ void __launch_bounds__(kPoolThreads) zerohop_pool_float32(const __grid_constant__ PoolJob job) {
  zerohop::Pool<float>(job);
}

__global__ void __launch_bounds__(kPoolThreads) zerohop_pool_float16(const __grid_constant__ PoolJob job) {
  zerohop::Pool<zerohop::Float16>(job);
}

__global__ void __launch_bounds__(kPoolThreads) zerohop_pool_bfloat16(const __grid_constant__ PoolJob job) {
  zerohop::Pool<zerohop::Bfloat16>(job);
}
}

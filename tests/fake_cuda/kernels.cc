#include "tests/fake_cuda/kernels.h"

#include <algorithm>
#include <cstring>

#include "replica_shim/cuda/pool_block.h"
#include "tests/fake_cuda/copies.h"
#include "tests/fake_cuda/host_machine.h"

namespace zerohop::fake_cuda {
namespace {

// Thrown out of a kernel that reaches for what is not there; its context is broken then.
struct IllegalAddress {};

struct EmulatedMemory {
  template <typename T>
  const T* Read(uint64_t address, uint64_t count) const {
    return Write<T>(address, count);
  }
  template <typename T>
  T* Write(uint64_t address, uint64_t count) const {
    void* bytes = AccessDevice(address, count * sizeof(T));
    if (bytes == nullptr) throw IllegalAddress();
    return static_cast<T*>(bytes);
  }
};

template <typename Element>
void RunPool(const std::byte* parameter, unsigned blocks, unsigned threads) {
  PoolJob job;
  std::memcpy(&job, parameter, sizeof job);
  const HostMachine<EmulatedMemory> machine(threads);
  float sums[kPoolThreads];
  try {
    for (unsigned block = 0; block < blocks; ++block) PoolBlock<Element>(machine, job, block, sums);
  } catch (const IllegalAddress&) {
  }
}

constexpr Kernel kKernels[] = {
    {"zerohop_pool_float32", sizeof(PoolJob), kPoolThreads, RunPool<float>},
    {"zerohop_pool_float16", sizeof(PoolJob), kPoolThreads, RunPool<Float16>},
    {"zerohop_pool_bfloat16", sizeof(PoolJob), kPoolThreads, RunPool<Bfloat16>},
};

}  // namespace

const Kernel* FindKernel(std::string_view name) {
  const auto found = std::find_if(std::begin(kKernels), std::end(kKernels),
                                  [&](const Kernel& kernel) { return kernel.name == name; });
  return found == std::end(kKernels) ? nullptr : found;
}

}  // namespace zerohop::fake_cuda

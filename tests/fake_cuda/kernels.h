#pragma once

// Kernels that the emulator can run: the product's, the same source compiled for
// the host. A module has those whose name is in its image.

#include <cstddef>
#include <string_view>

namespace zerohop::fake_cuda {

struct Kernel {
  std::string_view name;
  size_t parameter_bytes;  // of its only parameter
  unsigned most_threads;   // of a block
  // Runs all blocks, within a launched function (copies.h). An address that is no good ends it, with the
  // context broken.
  void (*run)(const std::byte* parameter, unsigned blocks, unsigned threads);
};

// Null where there is none.
const Kernel* FindKernel(std::string_view name);

}  // namespace zerohop::fake_cuda

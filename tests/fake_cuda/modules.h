#pragma once

// Modules, the functions in them, and launches. An image is a fat binary of nvcc's,
// not compressed, or the text of PTX; it is looked at for the names of kernels, and
// what runs under such a name is the host's version (kernels.h).

#include <cstdint>
#include <memory>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/streams.h"

namespace zerohop::fake_cuda {

// Of a launch, along x; the emulator knows no kernel that wants more.
struct Grid {
  unsigned blocks;
  unsigned threads;
};

// Results as those of the driver's functions. A function that a stream comes to when its module was unloaded
// is undefined (undefined.h).
cuda::CUresult LoadModule(const std::shared_ptr<Context>& context, cuda::CUmodule* handle, const void* image);
cuda::CUresult UnloadModule(cuda::CUmodule handle);
cuda::CUresult FindFunction(cuda::CUfunction* handle, cuda::CUmodule module, const char* name);
// Copies the parameter before it returns.
cuda::CUresult Launch(Stream& stream, cuda::CUfunction handle, Grid grid, void** parameters);

uint64_t CountModules();

}  // namespace zerohop::fake_cuda

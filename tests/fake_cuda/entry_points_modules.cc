// The driver's functions for modules and launches.

#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/entry.h"
#include "tests/fake_cuda/modules.h"
#include "tests/fake_cuda/streams.h"

using namespace zerohop::cuda;       // NOLINT: this file speaks the driver's language
using namespace zerohop::fake_cuda;  // NOLINT

extern "C" {

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return Enter("cuModuleLoadData",
               [&](std::shared_ptr<Context>& context) { return LoadModule(context, module, image); });
}

CUresult cuModuleUnload(CUmodule module) {
  return Enter("cuModuleUnload", [&](std::shared_ptr<Context>&) { return UnloadModule(module); });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return Enter("cuModuleGetFunction",
               [&](std::shared_ptr<Context>&) { return FindFunction(function, module, name); });
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void** parameters, void** extra) {
  return Enter("cuLaunchKernel", [&](std::shared_ptr<Context>& context) {
    const auto found = FindStream(context, stream);
    if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const bool flat = grid_y == 1 && grid_z == 1 && block_y == 1 && block_z == 1;
    if (!flat || shared_bytes != 0 || extra != nullptr) return CUDA_ERROR_INVALID_VALUE;
    return Launch(*found, function, {grid_x, block_x}, parameters);
  });
}
}

#pragma once

// Memory and events of other processes. Handles are 64 bytes that only the
// emulator understands, checked by a CRC, and good as long as what they name
// lives: not across a free, not for the next tenant of the same address.

#include <memory>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"

namespace zerohop::fake_cuda {

// Results as those of the driver's functions.
cuda::CUresult ExportMemory(cuda::CUipcMemHandle* handle, cuda::CUdeviceptr address);
cuda::CUresult OpenMemory(const std::shared_ptr<Context>& context, cuda::CUdeviceptr* address,
                          const cuda::CUipcMemHandle& handle, unsigned flags);
cuda::CUresult CloseMemory(cuda::CUdeviceptr address);
cuda::CUresult ExportEvent(cuda::CUipcEventHandle* handle, cuda::CUevent event);
cuda::CUresult OpenEvent(const std::shared_ptr<Context>& context, cuda::CUevent* event,
                         const cuda::CUipcEventHandle& handle);

}  // namespace zerohop::fake_cuda

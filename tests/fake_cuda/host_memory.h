#pragma once

// Host memory that this process registered, so that copies from and to it need
// not wait for the host; and its addresses on the device where that was asked for.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"

namespace zerohop::fake_cuda {

// Results as those of the driver's functions of these names.
cuda::CUresult RegisterHost(const std::shared_ptr<Context>& context, void* address, size_t bytes,
                            unsigned flags);
cuda::CUresult UnregisterHost(void* address);
cuda::CUresult HostDevicePointer(cuda::CUdeviceptr* device_address, void* address);

// Whether all of these bytes are registered, in one piece.
bool Registered(const void* address, size_t bytes);

uint64_t CountRegistrations();

}  // namespace zerohop::fake_cuda

#pragma once

// Copies and fills. Addresses are checked when a copy is submitted, and again when
// the stream comes to it: what was freed, closed or unregistered in between breaks
// the context (700), as a bad address that a device reaches by itself does.

#include <cstddef>
#include <memory>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/streams.h"

namespace zerohop::fake_cuda {

// Results as those of the driver's asynchronous functions. Host memory that is not
// registered is copied before these return, and counted.
cuda::CUresult CopyToDevice(Stream& stream, cuda::CUdeviceptr to, const void* from, size_t bytes);
cuda::CUresult CopyToHost(Stream& stream, void* to, cuda::CUdeviceptr from, size_t bytes);
cuda::CUresult CopyOnDevice(Stream& stream, cuda::CUdeviceptr to, cuda::CUdeviceptr from, size_t bytes);
cuda::CUresult Fill(Stream& stream, cuda::CUdeviceptr to, unsigned char value, size_t bytes);

// Writes one word, after all that the stream did before; 4-byte aligned.
cuda::CUresult WriteWord(Stream& stream, cuda::CUdeviceptr to, uint32_t value);

// Runs a launched function, which may use AccessDevice.
void RunLaunched(Context& context, cuda::CUhostFn function, void* argument);
// Null outside of a launched function, and for a range that is not all allocated, which breaks its context.
void* AccessDevice(cuda::CUdeviceptr address, size_t bytes);

}  // namespace zerohop::fake_cuda

#pragma once

// PoolOnDevice: a batch on a device, whose rows go to scattered places of one piece
// of memory that is full of a pattern; so all that a launch wrote is seen, right or not.
// Runs on any driver.

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "replica_shim/cuda/pool_kernel.h"
#include "shm/cuda/device_arena.h"
#include "tests/replica_shim/cuda/pool_cases.h"

namespace zerohop::pool_test {

// What PoolKernel loads: the image of this build or, in one without nvcc, a text that the emulated driver
// takes for one. Empty where there is neither, on a real driver.
std::span<const std::byte> ImageFor(bool emulated);

class PoolOnDevice {
 public:
  // Throws what Must throws. When it returns, tokens and pattern are there.
  PoolOnDevice(const std::shared_ptr<const CudaDevice>& device, cuda::CUstream stream, PoolCase pool_case);

  absl::Status Launch(const PoolKernel& kernel) const {
    return kernel.Launch(stream_, batch_.shape(), tokens_address(), rows_);
  }
  // After the work on the stream: whether every row is its twin's, and all around them as it was.
  testing::AssertionResult Check() const;

  PoolShape shape() const { return batch_.shape(); }
  std::span<const cuda::CUdeviceptr> rows() const { return rows_; }
  cuda::CUdeviceptr tokens_address() const;

 private:
  std::vector<std::byte> Read() const;

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUstream stream_;
  PoolBatch batch_;
  size_t bytes_ = 0;            // of all rows, and what is around them
  std::vector<size_t> places_;  // of rows
  DeviceMemory tokens_;
  DeviceMemory memory_;
  std::vector<cuda::CUdeviceptr> rows_;
};

}  // namespace zerohop::pool_test

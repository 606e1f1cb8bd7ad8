#pragma once

// What most conformance tests need: the primary context, current on this thread,
// a stream, and handles made from what peers say.

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "absl/strings/escaping.h"
#include "tests/fake_cuda/conformance/peer.h"
#include "tests/fake_cuda/conformance/subject.h"

namespace zerohop::conformance {

class Conformance : public testing::Test {
 protected:
  Conformance() {
    EXPECT_EQ(driver.cuDevicePrimaryCtxRetain(&context, 0), cuda::CUDA_SUCCESS);
    EXPECT_EQ(driver.cuCtxSetCurrent(context), cuda::CUDA_SUCCESS);
    EXPECT_EQ(driver.cuStreamCreateWithPriority(&stream, cuda::CU_STREAM_NON_BLOCKING, 0),
              cuda::CUDA_SUCCESS);
  }
  ~Conformance() override {
    EXPECT_EQ(driver.cuStreamDestroy_v2(stream), cuda::CUDA_SUCCESS);
    EXPECT_EQ(driver.cuCtxSetCurrent(nullptr), cuda::CUDA_SUCCESS);
    EXPECT_EQ(driver.cuDevicePrimaryCtxRelease_v2(0), cuda::CUDA_SUCCESS);
  }

  cuda::CUdeviceptr Alloc(size_t bytes) const {
    cuda::CUdeviceptr address = 0;
    EXPECT_EQ(driver.cuMemAlloc_v2(&address, bytes), cuda::CUDA_SUCCESS);
    return address;
  }
  void Free(cuda::CUdeviceptr address) const { EXPECT_EQ(driver.cuMemFree_v2(address), cuda::CUDA_SUCCESS); }
  cuda::CUevent MakeEvent(unsigned flags) const {
    cuda::CUevent event = nullptr;
    EXPECT_EQ(driver.cuEventCreate(&event, flags), cuda::CUDA_SUCCESS);
    return event;
  }
  cuda::CUresult Open(const cuda::CUipcMemHandle& handle, cuda::CUdeviceptr* address) const {
    return driver.cuIpcOpenMemHandle_v2(address, handle, cuda::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  }

  const CudaDriver& driver = TheSubject().driver;
  cuda::CUcontext context = nullptr;
  cuda::CUstream stream = nullptr;
};

template <typename Handle>
Handle HandleFrom(const std::string& hexadecimal) {
  Handle handle{};
  const std::string bytes = absl::HexStringToBytes(hexadecimal);
  EXPECT_EQ(bytes.size(), sizeof(handle.reserved));
  std::memcpy(handle.reserved, bytes.data(), sizeof(handle.reserved));
  return handle;
}

}  // namespace zerohop::conformance

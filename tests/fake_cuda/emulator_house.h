#pragma once

// What the emulator's own tests need: a namespace of their own, the primary
// context, a stream, and peers that use the same emulator.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/fake_cuda/conformance/peer.h"
#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/test_namespace.h"

namespace zerohop::fake_cuda {

using conformance::kArenaBytes;
using conformance::kMiB;

// Children of death tests start by exec: CUDA does not survive a fork. When GoogleTest has its flags.
class DeathTestStyle : public testing::Environment {
 public:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
inline testing::Environment* const kDeathTestStyle = testing::AddGlobalTestEnvironment(new DeathTestStyle);

// A peer with other FAKECU_ variables than ours, started.
class EmulatedPeer : public conformance::Peer {
 public:
  explicit EmulatedPeer(std::vector<std::string> environment = {})
      : Peer(WithLibrary(environment), ZEROHOP_PEER) {
    Do("start");
  }

 private:
  static std::vector<std::string>& WithLibrary(std::vector<std::string>& environment) {
    environment.push_back("LD_LIBRARY_PATH=" ZEROHOP_FAKE_CUDA);
    return environment;
  }
};

// Makes this process one that uses the device; for tests that do so in a child, too.
struct Device {
  Device() {
    EXPECT_EQ(cuda::cuInit(0), cuda::CUDA_SUCCESS);
    fakecu_sweep();  // the peers that the test before killed
    EXPECT_EQ(cuda::cuDevicePrimaryCtxRetain(&context, 0), cuda::CUDA_SUCCESS);
    EXPECT_EQ(cuda::cuCtxSetCurrent(context), cuda::CUDA_SUCCESS);
    EXPECT_EQ(cuda::cuStreamCreateWithPriority(&stream, cuda::CU_STREAM_NON_BLOCKING, 0), cuda::CUDA_SUCCESS);
  }
  ~Device() {
    cuda::cuStreamDestroy_v2(stream);
    cuda::cuDevicePrimaryCtxRelease_v2(0);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  cuda::CUdeviceptr Alloc(size_t bytes) const {
    cuda::CUdeviceptr address = 0;
    EXPECT_EQ(cuda::cuMemAlloc_v2(&address, bytes), cuda::CUDA_SUCCESS);
    return address;
  }
  // A byte of device memory, by a copy to pageable memory, which waits.
  unsigned char ByteAt(cuda::CUdeviceptr address) const {
    unsigned char byte = 0;
    EXPECT_EQ(cuda::cuMemcpyDtoHAsync_v2(&byte, address, 1, stream), cuda::CUDA_SUCCESS);
    return byte;
  }
  size_t FreeBytes() const {
    size_t free = 0;
    size_t total = 0;
    EXPECT_EQ(cuda::cuMemGetInfo_v2(&free, &total), cuda::CUDA_SUCCESS);
    return free;
  }

  cuda::CUcontext context = nullptr;
  cuda::CUstream stream = nullptr;
};

}  // namespace zerohop::fake_cuda

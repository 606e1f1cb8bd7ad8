// kernel_conformance: runs the kernels on a libcuda.so.1, be it the emulator, which
// runs their source on the host, or a real driver with a GPU, and compares every row
// with the twin on the CPU, bit for bit. Finds the library as any program does
// (LD_LIBRARY_PATH). Exits with 77 where there is no driver, no device, or, on a real one,
// no kernels in this build.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/fake_cuda/conformance/gate.h"
#include "tests/fake_cuda/conformance/subject.h"
#include "tests/replica_shim/cuda/pool_on_device.h"
#include "tests/support/must.h"

namespace zerohop::pool_test {
namespace {

using conformance::Expect;
using conformance::Gate;
using conformance::Known;
using conformance::TheSubject;

class KernelConformance : public testing::Test {
 protected:
  std::shared_ptr<const CudaDevice> device = Must(CudaDevice::Open(TheSubject().driver, "0"));
  CudaStream stream = Must(CudaStream::Create(device));
  PoolKernel kernel = Must(PoolKernel::Create(device, ImageFor(TheSubject().emulated)));
  const CudaDriver& driver = device->driver();
};

TEST_F(KernelConformance, EveryCaseIsItsTwinBitForBitAndNothingElseIsWritten) {
  for (const PoolCase& made : EveryCase(Values::kWild)) {
    const PoolOnDevice batch(device, stream.get(), made);
    ASSERT_TRUE(batch.Launch(kernel).ok());
    EXPECT_TRUE(batch.Check()) << NameOf(made);
  }
}

// As much as a GPU has room to run out of order.
TEST_F(KernelConformance, ManyLongPromptsAreTheirTwins) {
  for (const TokenType type : kTypes) {
    PoolCase made{.type = type, .dim = 384, .lengths = {}};
    for (uint32_t i = 0; i < 300; ++i) made.lengths.push_back(1 + i * 37 % 100);
    const PoolOnDevice batch(device, stream.get(), made);
    ASSERT_TRUE(batch.Launch(kernel).ok());
    EXPECT_TRUE(batch.Check()) << NameOf(made);
  }
}

TEST_F(KernelConformance, TheSameBatchGivesTheSameBitsEveryTime) {
  const PoolOnDevice batch(device, stream.get(), ManyPrompts());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(batch.Launch(kernel).ok());
    ASSERT_TRUE(batch.Check());
  }
}

TEST_F(KernelConformance, ALaunchHasCopiedItsArraysWhenItReturns) {
  const PoolOnDevice batch(device, stream.get(), ManyPrompts());
  std::vector<uint32_t> offsets(batch.shape().offsets.begin(), batch.shape().offsets.end());
  std::vector<cuda::CUdeviceptr> rows(batch.rows().begin(), batch.rows().end());
  PoolShape shape = batch.shape();
  shape.offsets = offsets;
  Gate gate;
  gate.Close();
  EXPECT_EQ(driver.cuLaunchHostFunc(stream.get(), Gate::PassThrough, &gate), cuda::CUDA_SUCCESS);
  EXPECT_TRUE(kernel.Launch(stream.get(), shape, batch.tokens_address(), rows).ok());
  std::fill(offsets.begin(), offsets.end(), 0u);
  std::fill(rows.begin(), rows.end(), 0u);
  Expect(Known::kDocumented, "query of a stream with a launch not reached",
         driver.cuStreamQuery(stream.get()), {cuda::CUDA_ERROR_NOT_READY});
  gate.Open();
  EXPECT_TRUE(batch.Check());
}

TEST_F(KernelConformance, AnImageOfOtherKernelsHasNoneOfThatName) {
  cuda::CUmodule module = nullptr;
  EXPECT_EQ(driver.cuModuleLoadData(&module, ImageFor(TheSubject().emulated).data()), cuda::CUDA_SUCCESS);
  cuda::CUfunction function = nullptr;
  Expect(Known::kDocumented, "a function that an image does not have",
         driver.cuModuleGetFunction(&function, module, "zerohop_no_such_kernel"),
         {cuda::CUDA_ERROR_NOT_FOUND});
  EXPECT_EQ(driver.cuModuleUnload(module), cuda::CUDA_SUCCESS);
}

TEST_F(KernelConformance, ABlockLargerThanADeviceAllowsIsRefused) {
  cuda::CUmodule module = nullptr;
  EXPECT_EQ(driver.cuModuleLoadData(&module, ImageFor(TheSubject().emulated).data()), cuda::CUDA_SUCCESS);
  cuda::CUfunction function = nullptr;
  EXPECT_EQ(driver.cuModuleGetFunction(&function, module, "zerohop_pool_float32"), cuda::CUDA_SUCCESS);
  char parameter[4096] = {};
  void* parameters[] = {parameter};
  Expect(Known::kDocumented, "a block larger than a device allows",
         driver.cuLaunchKernel(function, 1, 1, 1, 2048, 1, 1, 0, stream.get(), parameters, nullptr),
         {cuda::CUDA_ERROR_INVALID_VALUE});
  EXPECT_EQ(driver.cuModuleUnload(module), cuda::CUDA_SUCCESS);
}

TEST_F(KernelConformance, WhatIsNoImageIsRefused) {
  cuda::CUmodule module = nullptr;
  Expect(Known::kInferred, "an image that is none", driver.cuModuleLoadData(&module, "no image at all"),
         {cuda::CUDA_ERROR_INVALID_IMAGE});
}

int Skip(const std::string& reason) {
  std::fprintf(stderr, "skipped: %s\n", reason.c_str());
  return 77;
}

int Main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ::setenv("FAKECU_NS", ("kernels-" + std::to_string(::getpid())).c_str(), 0);
  const absl::Status usable = TheSubject().driver.Init();
  if (!usable.ok()) return Skip(std::string(usable.message()));
  if (ImageFor(TheSubject().emulated).empty()) return Skip("this build has no CUDA kernels");
  std::printf("under test: %s\n", TheSubject().emulated ? "the emulated driver" : "a real driver");
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace zerohop::pool_test

int main(int argc, char** argv) {
  return zerohop::pool_test::Main(argc, argv);
}

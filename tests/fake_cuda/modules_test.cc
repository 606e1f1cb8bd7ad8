// Modules and launches, as the emulator has them.

#include "replica_shim/cuda/pool_job.h"
#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

using enum cuda::CUresult;

constexpr char kImage[] = ".version 9.0 .entry zerohop_pool_float32()";

// A device, and on it the kernel, one token of four floats, and room for its row.
struct KernelHouse : Device {
  KernelHouse() {
    EXPECT_EQ(cuda::cuModuleLoadData(&module, kImage), CUDA_SUCCESS);
    EXPECT_EQ(cuda::cuModuleGetFunction(&function, module, "zerohop_pool_float32"), CUDA_SUCCESS);
    job = {.tokens = Alloc(512),
           .dim = 4,
           .pooling = TokenPooling::kFirst,
           .normalize = 0,
           .rows = {},
           .first = {0, 1}};
    job.rows[0] = Alloc(512);
    EXPECT_EQ(cuda::cuMemsetD8Async(job.tokens, 0x11, 512, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuda::cuStreamSynchronize(stream), CUDA_SUCCESS);
  }
  ~KernelHouse() {
    (void)cuda::cuModuleUnload(module);
    (void)cuda::cuMemFree_v2(job.tokens);
    (void)cuda::cuMemFree_v2(job.rows[0]);
  }
  cuda::CUresult Launch(unsigned blocks, unsigned threads) {
    void* parameters[] = {&job};
    return cuda::cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, parameters, nullptr);
  }

  cuda::CUmodule module = nullptr;
  cuda::CUfunction function = nullptr;
  PoolJob job{};
};

TEST(EmulatedModules, AKernelRunsInTheStreamsOrderWithTheParameterOfItsLaunch) {
  KernelHouse house;
  const cuda::CUdeviceptr row = house.job.rows[0];
  EXPECT_EQ(fakecu_hold_stream(house.stream), CUDA_SUCCESS);
  EXPECT_EQ(house.Launch(1, kPoolThreads), CUDA_SUCCESS);
  house.job.rows[0] = 0;
  EXPECT_EQ(cuda::cuStreamQuery(house.stream), CUDA_ERROR_NOT_READY);
  EXPECT_EQ(fakecu_release_stream(house.stream), CUDA_SUCCESS);
  EXPECT_EQ(house.ByteAt(row + 15), 0x11);
  EXPECT_EQ(house.ByteAt(row + 16), kFakeCudaFresh);
  house.job.rows[0] = row;
}

TEST(EmulatedModules, AThreadThatIsNotLaunchedDoesNothing) {
  KernelHouse house;
  EXPECT_EQ(house.Launch(1, 2), CUDA_SUCCESS);
  EXPECT_EQ(house.ByteAt(house.job.rows[0] + 7), 0x11);
  EXPECT_EQ(house.ByteAt(house.job.rows[0] + 8), kFakeCudaFresh);
}

TEST(EmulatedModules, AGridThatTheKernelDoesNotAllowIsRefused) {
  KernelHouse house;
  EXPECT_EQ(house.Launch(0, kPoolThreads), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(house.Launch(1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(house.Launch(1, kPoolThreads + 1), CUDA_ERROR_INVALID_VALUE);
}

TEST(EmulatedModules, AFunctionIsFoundByANameThatTheImageHas) {
  KernelHouse house;
  cuda::CUfunction other = nullptr;
  EXPECT_EQ(cuda::cuModuleGetFunction(&other, house.module, "zerohop_pool_float16"), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(cuda::cuModuleLoadData(&house.module, "text"), CUDA_ERROR_INVALID_IMAGE);
}

TEST(EmulatedModules, AModuleIsUnloadedOnceAndItsFunctionsAreGone) {
  KernelHouse house;
  EXPECT_EQ(cuda::cuModuleUnload(house.module), CUDA_SUCCESS);
  EXPECT_EQ(cuda::cuModuleUnload(house.module), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(house.Launch(1, kPoolThreads), CUDA_ERROR_INVALID_HANDLE);
}

TEST(EmulatedModulesDeathTest, ARowThatReachesBeyondItsAllocationBreaksTheContext) {
  EXPECT_EXIT(
      {
        KernelHouse house;
        house.job.rows[0] += 512 - 12;
        EXPECT_EQ(house.Launch(1, kPoolThreads), CUDA_SUCCESS);
        ::_exit(cuda::cuStreamSynchronize(house.stream) == CUDA_ERROR_ILLEGAL_ADDRESS ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedModulesDeathTest, TokensBeyondTheirAllocationBreakTheContext) {
  EXPECT_EXIT(
      {
        KernelHouse house;
        house.job.first[0] = 31;  // the last of 512 bytes
        house.job.first[1] = 32;
        EXPECT_EQ(house.Launch(1, kPoolThreads), CUDA_SUCCESS);
        EXPECT_EQ(cuda::cuStreamSynchronize(house.stream), CUDA_SUCCESS);
        house.job.pooling = TokenPooling::kMean;
        house.job.first[1] = 33;
        EXPECT_EQ(house.Launch(1, kPoolThreads), CUDA_SUCCESS);
        const bool broken = cuda::cuStreamSynchronize(house.stream) == CUDA_ERROR_ILLEGAL_ADDRESS;
        ::_exit(broken && !testing::Test::HasFailure() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedModulesDeathTest, AModuleThatGoesBeforeItsWorkIsUndefined) {
  EXPECT_DEATH(
      {
        ::setenv("FAKECU_UB", "abort", 1);
        KernelHouse house;
        fakecu_hold_stream(house.stream);
        house.Launch(1, kPoolThreads);
        cuda::cuModuleUnload(house.module);
        fakecu_release_stream(house.stream);
        cuda::cuStreamSynchronize(house.stream);
      },
      "undefined behaviour: cuModuleUnload before");
}

}  // namespace
}  // namespace zerohop::fake_cuda

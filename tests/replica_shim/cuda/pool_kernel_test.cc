// PoolKernel, on the emulated driver.

#include "replica_shim/cuda/pool_kernel.h"

#include <gmock/gmock.h>

#include <array>

#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/test_namespace.h"
#include "tests/replica_shim/cuda/pool_on_device.h"
#include "tests/support/must.h"

namespace zerohop::pool_test {
namespace {

using testing::HasSubstr;

class PoolKernelTest : public testing::Test {
 protected:
  std::shared_ptr<const CudaDevice> device = Must(CudaDevice::Open("0"));
  CudaStream stream = Must(CudaStream::Create(device));
  PoolKernel kernel = Must(PoolKernel::Create(device, ImageFor(true)));

  // What Launch says of a batch of two prompts of three floats, somewhat changed.
  template <typename Change>
  std::string Refused(Change change) {
    std::array<uint32_t, 3> offsets = {0, 2, 3};
    std::array<cuda::CUdeviceptr, 2> rows = {4096, 8192};
    PoolShape shape{TokenType::kFloat16, TokenPooling::kMean, true, 3, offsets};
    cuda::CUdeviceptr tokens = 1024;
    change(shape, offsets, rows, tokens);
    const absl::Status status = kernel.Launch(stream.get(), shape, tokens, rows);
    EXPECT_TRUE(absl::IsInternal(status)) << status;  // never the mistake of a client
    return std::string(status.message());
  }
};
using Offsets = std::array<uint32_t, 3>;
using Rows = std::array<cuda::CUdeviceptr, 2>;

TEST_F(PoolKernelTest, EveryCaseIsItsTwinBitForBitInScatteredRowsAndNothingElseIsWritten) {
  for (const PoolCase& made : EveryCase(Values::kWild)) {
    const PoolOnDevice batch(device, stream.get(), made);
    ASSERT_TRUE(batch.Launch(kernel).ok());
    ASSERT_TRUE(batch.Check()) << NameOf(made);
  }
}

TEST_F(PoolKernelTest, ABatchMayHaveMorePromptsThanALaunch) {
  const PoolOnDevice batch(device, stream.get(), ManyPrompts());
  EXPECT_TRUE(batch.Launch(kernel).ok());
  EXPECT_TRUE(batch.Check());
}

TEST_F(PoolKernelTest, NoPromptsAreNothingToDo) {
  const uint32_t offsets[] = {0};
  EXPECT_TRUE(kernel.Launch(stream.get(), {.dim = 3, .offsets = offsets}, 1024, {}).ok());
}

TEST_F(PoolKernelTest, LaunchReturnsBeforeTheWorkAndNeedsItsArraysNoMore) {
  const PoolOnDevice batch(device, stream.get(), ManyPrompts());
  std::vector<uint32_t> offsets(batch.shape().offsets.begin(), batch.shape().offsets.end());
  std::vector<cuda::CUdeviceptr> rows(batch.rows().begin(), batch.rows().end());
  PoolShape shape = batch.shape();
  shape.offsets = offsets;
  EXPECT_EQ(fakecu_hold_stream(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_TRUE(kernel.Launch(stream.get(), shape, batch.tokens_address(), rows).ok());
  std::fill(offsets.begin(), offsets.end(), 0u);
  std::fill(rows.begin(), rows.end(), 0u);
  EXPECT_EQ(device->driver().cuStreamQuery(stream.get()), cuda::CUDA_ERROR_NOT_READY);
  EXPECT_EQ(fakecu_release_stream(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_TRUE(batch.Check());
}

TEST_F(PoolKernelTest, WorkBeforeTheLaunchIsSeenByIt) {
  PoolCase made{.dim = 300, .lengths = {3, 1}};
  const PoolOnDevice batch(device, stream.get(), made);
  const PoolOnDevice other(device, stream.get(), made);
  const auto bytes = size_t{4} * 300 * 4;
  const CudaDriver& driver = device->driver();
  EXPECT_EQ(driver.cuMemsetD8Async(batch.tokens_address(), 0, bytes, stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream.get()), cuda::CUDA_SUCCESS);
  // The tokens come only now, by the stream.
  EXPECT_EQ(fakecu_hold_stream(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemcpyDtoDAsync_v2(batch.tokens_address(), other.tokens_address(), bytes, stream.get()),
            cuda::CUDA_SUCCESS);
  EXPECT_TRUE(batch.Launch(kernel).ok());
  EXPECT_EQ(fakecu_release_stream(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_TRUE(batch.Check());
}

TEST_F(PoolKernelTest, AWrongShapeIsOneSentence) {
  EXPECT_EQ(Refused([](PoolShape& shape, Offsets&, Rows&, auto&) { shape.dim = 0; }),
            "cannot pool: a row of 0 floats, expected at least 1");
  EXPECT_EQ(Refused([](PoolShape& shape, Offsets&, Rows&, auto&) { shape.offsets = shape.offsets.first(2); }),
            "cannot pool: 2 rows and 2 offsets, expected one offset more than rows");
  EXPECT_EQ(Refused([](PoolShape&, Offsets& offsets, Rows&, auto&) { offsets[2] = 2; }),
            "cannot pool: prompt 1 from token 2 to 2, expected at least one token");
  EXPECT_EQ(Refused([](PoolShape&, Offsets& offsets, Rows&, auto&) { offsets[0] = 3; }),
            "cannot pool: prompt 0 from token 3 to 2, expected at least one token");
  EXPECT_EQ(Refused([](PoolShape&, Offsets&, Rows& rows, auto&) { rows[1] = 8190; }),
            "cannot pool: row 1 at address 8190, expected a multiple of 4");
  EXPECT_EQ(Refused([](PoolShape&, Offsets&, Rows& rows, auto&) { rows[0] = 0; }),
            "cannot pool: row 0 at address 0, expected a multiple of 4");
  EXPECT_EQ(Refused([](PoolShape&, Offsets&, Rows&, auto& tokens) { tokens = 1025; }),
            "cannot pool: tokens at address 1025, expected a multiple of 2");
}

TEST_F(PoolKernelTest, WhatTheDriverRefusesIsOneSentence) {
  const uint32_t offsets[] = {0, 1};
  const cuda::CUdeviceptr rows[] = {4096};
  const absl::Status status = kernel.Launch(nullptr, {.dim = 3, .offsets = offsets}, 1024, rows);
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_EQ(status.message(),
            "cannot launch the pooling kernel: CUDA_ERROR_INVALID_HANDLE (400), invalid handle");
}

TEST_F(PoolKernelTest, AnImageThatIsNoneIsRefusedByTheDriver) {
  const auto bytes = std::as_bytes(std::span("no image at all"));
  const auto made = PoolKernel::Create(device, bytes);
  EXPECT_EQ(made.status().message(),
            "cannot load the pooling kernel: CUDA_ERROR_INVALID_IMAGE (200), invalid image");
}

TEST_F(PoolKernelTest, AnImageOfOtherKernelsIsRefused) {
  const auto made =
      PoolKernel::Create(device, std::as_bytes(std::span(".version 9.0 .entry zerohop_pool_float32()")));
  EXPECT_EQ(made.status().message(),
            "cannot find the kernel zerohop_pool_float16: CUDA_ERROR_NOT_FOUND (500), not found");
}

TEST_F(PoolKernelTest, ABuildWithoutKernelsSaysSo) {
  const auto made = PoolKernel::Create(device, {});
  EXPECT_TRUE(absl::IsUnimplemented(made.status()));
  EXPECT_THAT(std::string(made.status().message()), HasSubstr("this build has no CUDA kernels"));
}

TEST_F(PoolKernelTest, ADriverWithoutModulesIsOneAllTheSame) {
  CudaDriver older = device->driver();
  older.cuLaunchKernel = nullptr;
  const auto without = Must(CudaDevice::Open(older, "0"));
  const auto made = PoolKernel::Create(without, ImageFor(true));
  EXPECT_TRUE(absl::IsUnimplemented(made.status()));
  EXPECT_EQ(made.status().message(), "the CUDA driver cannot load kernels");
}

TEST_F(PoolKernelTest, ADeviceThatIsLostGetsNoLaunch) {
  const auto lost = Must(CudaDevice::Open("0"));
  const PoolKernel made = Must(PoolKernel::Create(lost, ImageFor(true)));
  const PoolOnDevice batch(device, stream.get(), {.dim = 3, .lengths = {1}});
  lost->Abandon();
  EXPECT_FALSE(batch.Launch(made).ok());
}

}  // namespace
}  // namespace zerohop::pool_test

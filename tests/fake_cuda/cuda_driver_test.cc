// CudaDriver, the product's table of functions, on the emulator and on what is no driver.

#include "shm/cuda/cuda_driver.h"

#include <gmock/gmock.h>

#include "tests/fake_cuda/emulator_house.h"
#include "tests/support/must.h"

namespace zerohop::fake_cuda {
namespace {

using testing::HasSubstr;

std::string Text(const absl::Status& status) {
  return std::string(status.message());
}

TEST(CudaDriver, FindsAllOfAWholeDriver) {
  const CudaDriver driver = Must(CudaDriver::Load());
  EXPECT_EQ(driver.cuMemAlloc_v2, &cuda::cuMemAlloc_v2);
  EXPECT_EQ(driver.cuIpcOpenMemHandle_v2, &cuda::cuIpcOpenMemHandle_v2);
  EXPECT_EQ(driver.cuStreamWriteValue32_v2, &cuda::cuStreamWriteValue32_v2);
  EXPECT_TRUE(driver.Init().ok());
}

TEST(CudaDriver, SaysThatThereIsNoLibrary) {
  const auto driver = CudaDriver::Load("libno-such-driver.so.1");
  EXPECT_EQ(driver.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(driver.status()), HasSubstr("libno-such-driver.so.1"));
}

TEST(CudaDriver, NamesEveryFunctionALibraryLacks) {
  const auto driver = CudaDriver::Load("libm.so.6");  // the symbols themselves are looked for
  EXPECT_EQ(driver.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(Text(driver.status()), HasSubstr("libm.so.6 lacks cuInit cuDriverGetVersion"));
}

TEST(CudaDriverDeathTest, NamesAHiddenFunction) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_HIDE", "cuIpcGetMemHandle,cuStreamWriteValue32_v2", 1);
        const auto driver = CudaDriver::Load();
        std::fprintf(stderr, "%s\n", Text(driver.status()).c_str());
        ::_exit(0);
      },
      testing::ExitedWithCode(0), "lacks cuIpcGetMemHandle\n");
}

TEST(CudaDriverDeathTest, DoesWithoutTheFunctionsOfKernels) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_HIDE", "cuModuleLoadData,cuModuleGetFunction,cuModuleUnload,cuLaunchKernel", 1);
        const CudaDriver driver = Must(CudaDriver::Load());
        ::_exit(driver.cuLaunchKernel == nullptr && driver.cuModuleLoadData == nullptr ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(CudaDriverDeathTest, InitIsUnavailableWithoutDevices) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_VISIBLE", "", 1);
        const absl::Status status = Must(CudaDriver::Load()).Init();
        std::fprintf(stderr, "%s\n", Text(status).c_str());
        ::_exit(absl::IsUnavailable(status) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "cannot initialize the CUDA driver: CUDA_ERROR_NO_DEVICE \\(100\\)");
}

TEST(CudaDriverDeathTest, RecognizesTheStubOfAToolkit) {
  EXPECT_EXIT(
      {
        // It has all functions, and every one of them refuses.
        ::setenv("FAKECU_FAULT", "cuGetProcAddress:err=34; cuInit:err=34", 1);
        const absl::Status status = Must(CudaDriver::Load()).Init();
        std::fprintf(stderr, "%s\n", Text(status).c_str());
        ::_exit(absl::IsUnavailable(status) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "stub of a toolkit");
}

TEST(CudaDriver, ErrorsBecomeSentences) {
  const CudaDriver driver = Must(CudaDriver::Load());
  EXPECT_TRUE(driver.Check(cuda::CUDA_SUCCESS, "breathe").ok());
  const absl::Status refused = driver.Check(cuda::CUDA_ERROR_INVALID_VALUE, "export the arena");
  EXPECT_EQ(Text(refused), "cannot export the arena: CUDA_ERROR_INVALID_VALUE (1), invalid value");
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_TRUE(absl::IsResourceExhausted(driver.Check(cuda::CUDA_ERROR_OUT_OF_MEMORY, "allocate")));
  EXPECT_TRUE(absl::IsInternal(driver.Check(cuda::CUDA_ERROR_ILLEGAL_ADDRESS, "copy")));
  const absl::Status unnamed = driver.Check(static_cast<cuda::CUresult>(12345), "guess");
  EXPECT_TRUE(absl::IsInternal(unnamed));
  EXPECT_EQ(Text(unnamed), "cannot guess: an unnamed CUDA error (12345), no description");
}

}  // namespace
}  // namespace zerohop::fake_cuda

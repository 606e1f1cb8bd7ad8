// Initialization, contexts, processes.

#include <thread>

#include "tests/fake_cuda/conformance/house.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;
using cuda::CUcontext;
using cuda::CUdeviceptr;

TEST_F(Conformance, NothingWorksBeforeInit) {
  Peer peer;
  Expect(Known::kDocumented, "cuDeviceGetCount before cuInit", peer.Ask("count").code,
         {CUDA_ERROR_NOT_INITIALIZED});
  EXPECT_EQ(peer.Ask("init").code, CUDA_SUCCESS);
  EXPECT_NE(peer.Do("count"), "0");
}

TEST_F(Conformance, ForkedChildIsNotInitialized) {
  Peer peer;
  peer.Do("start");
  Expect(Known::kObserved, "cuDeviceGetCount in a forked child", peer.Ask("fork").code,
         {CUDA_ERROR_NOT_INITIALIZED});
  // And the parent goes on.
  EXPECT_EQ(peer.Ask("count").code, CUDA_SUCCESS);
}

TEST_F(Conformance, InitFlagsMustBeZero) {
  Expect(Known::kDocumented, "cuInit with flags", driver.cuInit(1), {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, RetainDoesNotMakeCurrent) {
  CUcontext current = context;
  std::thread([&] {
    CUcontext retained = nullptr;
    EXPECT_EQ(driver.cuDevicePrimaryCtxRetain(&retained, 0), CUDA_SUCCESS);
    EXPECT_EQ(retained, context);
    EXPECT_EQ(driver.cuCtxGetCurrent(&current), CUDA_SUCCESS);
    EXPECT_EQ(driver.cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
  }).join();
  EXPECT_EQ(current, nullptr);
}

TEST_F(Conformance, PrimaryContextIsActiveWhileRetained) {
  unsigned flags = 0;
  int active = 0;
  EXPECT_EQ(driver.cuDevicePrimaryCtxGetState(0, &flags, &active), CUDA_SUCCESS);
  EXPECT_EQ(active, 1);
}

TEST_F(Conformance, ReleaseOfUnretainedContextIsRefused) {
  Peer peer;
  peer.Do("init");
  Expect(Known::kDocumented, "release of a primary context not retained", peer.Ask("release").code,
         {CUDA_ERROR_INVALID_CONTEXT});
}

TEST_F(Conformance, WithoutCurrentContextNothingTouchesTheDevice) {
  CUdeviceptr address = Alloc(kArenaBytes);
  cuda::CUipcMemHandle handle{};
  EXPECT_EQ(driver.cuIpcGetMemHandle(&handle, address), CUDA_SUCCESS);
  std::thread([&] {
    CUdeviceptr other = 0;
    Expect(Known::kDocumented, "cuMemAlloc without context", driver.cuMemAlloc_v2(&other, 512),
           {CUDA_ERROR_INVALID_CONTEXT});
    Expect(Known::kObserved, "opening memory without context", Open(handle, &other),
           {CUDA_ERROR_INVALID_CONTEXT});
    Expect(Known::kObserved, "closing memory without context", driver.cuIpcCloseMemHandle(address),
           {CUDA_ERROR_INVALID_CONTEXT});
  }).join();
  Free(address);
}

TEST_F(Conformance, ErrorsHaveNames) {
  const char* name = nullptr;
  EXPECT_EQ(driver.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &name), CUDA_SUCCESS);
  EXPECT_STREQ(name, "CUDA_ERROR_ILLEGAL_ADDRESS");
  const auto unknown = static_cast<cuda::CUresult>(12345);
  Expect(Known::kDocumented, "name of no error", driver.cuGetErrorName(unknown, &name),
         {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, DevicesHaveNamesOfTheirOwn) {
  int count = 0;
  EXPECT_EQ(driver.cuDeviceGetCount(&count), CUDA_SUCCESS);
  cuda::CUuuid uuid{};
  EXPECT_EQ(driver.cuDeviceGetUuid_v2(&uuid, 0), CUDA_SUCCESS);
  char bus_id[32] = {};
  EXPECT_EQ(driver.cuDeviceGetPCIBusId(bus_id, sizeof(bus_id), 0), CUDA_SUCCESS);
  int device = -1;
  Expect(Known::kDocumented, "a device that is not", driver.cuDeviceGet(&device, count),
         {CUDA_ERROR_INVALID_DEVICE});
  int unified = 0;
  EXPECT_EQ(driver.cuDeviceGetAttribute(&unified, cuda::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 0),
            CUDA_SUCCESS);
  ExpectText(Known::kDocumented, "unified addressing", std::to_string(unified), "1");
}

TEST_F(Conformance, DirectoryRefusesVersionsNewerThanTheDriver) {
  if (driver.cuGetProcAddress_v2 == nullptr) GTEST_SKIP() << "a driver older than CUDA 12.0";
  int version = 0;
  EXPECT_EQ(driver.cuDriverGetVersion(&version), CUDA_SUCCESS);
  void* function = nullptr;
  Expect(Known::kDocumented, "a function of a newer interface than the driver's",
         driver.cuGetProcAddress_v2("cuMemAlloc", &function, version + 1000,
                                    cuda::CU_GET_PROC_ADDRESS_LEGACY_STREAM, nullptr),
         {CUDA_ERROR_INVALID_VALUE});
  auto found = cuda::CU_GET_PROC_ADDRESS_SUCCESS;
  Expect(Known::kDocumented, "a function that is not",
         driver.cuGetProcAddress_v2("cuNoSuchFunction", &function, 12000,
                                    cuda::CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found),
         {CUDA_SUCCESS, CUDA_ERROR_NOT_FOUND});
  EXPECT_EQ(function, nullptr);
  EXPECT_EQ(found, cuda::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

}  // namespace
}  // namespace zerohop::conformance

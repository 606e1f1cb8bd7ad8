// Device memory and registered host memory, within one process.

#include <sys/mman.h>

#include <vector>

#include "tests/fake_cuda/conformance/house.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;
using cuda::CUdeviceptr;

constexpr size_t kPages = 16 * 4096;

// Pages of host memory, as a lane has them.
class HostPages {
 public:
  HostPages()
      : data_(static_cast<std::byte*>(
            ::mmap(nullptr, kPages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~HostPages() { ::munmap(data_, kPages); }
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

TEST_F(Conformance, AllocationsAreChecked) {
  CUdeviceptr address = 0;
  Expect(Known::kDocumented, "allocation of nothing", driver.cuMemAlloc_v2(&address, 0),
         {CUDA_ERROR_INVALID_VALUE});
  Expect(Known::kInferred, "allocation to nowhere", driver.cuMemAlloc_v2(nullptr, 512),
         {CUDA_ERROR_INVALID_VALUE});
  size_t total = 0;
  EXPECT_EQ(driver.cuDeviceTotalMem_v2(&total, 0), CUDA_SUCCESS);
  Expect(Known::kDocumented, "allocation of more than there is", driver.cuMemAlloc_v2(&address, total + kMiB),
         {CUDA_ERROR_OUT_OF_MEMORY});
}

TEST_F(Conformance, FreeTakesOnlyWhatAllocGave) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  Expect(Known::kInferred, "free of an interior pointer", driver.cuMemFree_v2(address + 512),
         {CUDA_ERROR_INVALID_VALUE});
  Free(address);
  Expect(Known::kInferred, "free once more", driver.cuMemFree_v2(address), {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, AddressRangeIsThatOfTheAllocation) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  CUdeviceptr base = 0;
  size_t bytes = 0;
  EXPECT_EQ(driver.cuMemGetAddressRange_v2(&base, &bytes, address + 4096), CUDA_SUCCESS);
  EXPECT_EQ(base, address);
  EXPECT_EQ(bytes, kArenaBytes);
  Free(address);
}

TEST_F(Conformance, MemoryInfoCountsDown) {
  size_t before = 0;
  size_t after = 0;
  size_t total = 0;
  EXPECT_EQ(driver.cuMemGetInfo_v2(&before, &total), CUDA_SUCCESS);
  const CUdeviceptr address = Alloc(8 * kMiB);
  EXPECT_EQ(driver.cuMemGetInfo_v2(&after, &total), CUDA_SUCCESS);
  ExpectText(Known::kInferred, "memory that 8 MiB take", std::to_string(before - after),
             std::to_string(8 * kMiB));
  Free(address);
}

TEST_F(Conformance, PointerAttributesTellWhetherMemoryCanBeExported) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  unsigned capable = 0;
  CUdeviceptr base = 0;
  unsigned long long buffer = 0;
  cuda::CUpointer_attribute attributes[] = {cuda::CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
                                            cuda::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                            cuda::CU_POINTER_ATTRIBUTE_BUFFER_ID};
  void* values[] = {&capable, &base, &buffer};
  EXPECT_EQ(driver.cuPointerGetAttributes(3, attributes, values, address + 100), CUDA_SUCCESS);
  ExpectText(Known::kDocumented, "cuMemAlloc's memory can be exported", std::to_string(capable), "1");
  EXPECT_EQ(base, address);
  EXPECT_NE(buffer, 0U);
  int local = 0;
  capable = 1;
  EXPECT_EQ(driver.cuPointerGetAttributes(3, attributes, values, reinterpret_cast<CUdeviceptr>(&local)),
            CUDA_SUCCESS);
  ExpectText(Known::kInferred, "host memory can be exported", std::to_string(capable), "0");
  Free(address);
}

TEST_F(Conformance, CopiesStayWithinTheirAllocation) {
  // In peers: a real driver may notice on the device only, and break the context.
  for (const char* command : {"read 0 2097052 4096", "fill 0 2097052 1 4096"}) {
    Peer peer;
    peer.Do("start");
    peer.Do("alloc " + std::to_string(kArenaBytes));
    Expect(Known::kInferred, std::string("beyond an allocation, ") + command, peer.Ask(command).code,
           {CUDA_ERROR_INVALID_VALUE});
  }
}

TEST_F(Conformance, CopiesGoThereAndBack) {
  const CUdeviceptr first = Alloc(kArenaBytes);
  const CUdeviceptr second = Alloc(kArenaBytes);
  const HostPages pages;
  std::memset(pages.data(), 42, kPages);
  EXPECT_EQ(driver.cuMemHostRegister_v2(pages.data(), kPages, cuda::CU_MEMHOSTREGISTER_PORTABLE),
            CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemcpyHtoDAsync_v2(first, pages.data(), 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemcpyDtoDAsync_v2(second + 8192, first, 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemcpyDtoHAsync_v2(pages.data() + 4096, second + 8192, 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemsetD8Async(first, 7, 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuMemcpyDtoHAsync_v2(pages.data(), first, 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  EXPECT_EQ(pages.data()[0], std::byte{7});
  EXPECT_EQ(pages.data()[4096], std::byte{42});
  EXPECT_EQ(pages.data()[8191], std::byte{42});
  EXPECT_EQ(driver.cuMemHostUnregister(pages.data()), CUDA_SUCCESS);
  Free(first);
  Free(second);
}

TEST_F(Conformance, HostRegistrationIsChecked) {
  const HostPages pages;
  const unsigned flags = cuda::CU_MEMHOSTREGISTER_PORTABLE;
  Expect(Known::kObserved, "registering nothing", driver.cuMemHostRegister_v2(pages.data(), 0, flags),
         {CUDA_ERROR_INVALID_VALUE});
  Expect(Known::kInferred, "unregistering what is not", driver.cuMemHostUnregister(pages.data()),
         {CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, CUDA_ERROR_INVALID_VALUE});
  EXPECT_EQ(driver.cuMemHostRegister_v2(pages.data(), kPages, flags), CUDA_SUCCESS);
  Expect(Known::kDocumented, "registering twice", driver.cuMemHostRegister_v2(pages.data(), kPages, flags),
         {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED});
  Expect(Known::kInferred, "registering a part again",
         driver.cuMemHostRegister_v2(pages.data() + 4096, 4096, flags),
         {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED});
  Expect(Known::kInferred, "unregistering at another base", driver.cuMemHostUnregister(pages.data() + 4096),
         {CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, CUDA_ERROR_INVALID_VALUE});
  EXPECT_EQ(driver.cuMemHostUnregister(pages.data()), CUDA_SUCCESS);
}

TEST_F(Conformance, RegisteredPagesCanBeWrittenByAStream) {
  if (driver.cuStreamWriteValue32_v2 == nullptr) GTEST_SKIP() << "a driver without stream writes";
  const HostPages pages;
  const unsigned flags = cuda::CU_MEMHOSTREGISTER_PORTABLE | cuda::CU_MEMHOSTREGISTER_DEVICEMAP;
  EXPECT_EQ(driver.cuMemHostRegister_v2(pages.data(), kPages, flags), CUDA_SUCCESS);
  CUdeviceptr mapped = 0;
  EXPECT_EQ(driver.cuMemHostGetDevicePointer_v2(&mapped, pages.data(), 0), CUDA_SUCCESS);
  const cuda::CUresult written =
      driver.cuStreamWriteValue32_v2(stream, mapped + 64, 77, cuda::CU_STREAM_WRITE_VALUE_DEFAULT);
  Expect(Known::kDocumented, "a stream's write", written, {CUDA_SUCCESS, CUDA_ERROR_NOT_SUPPORTED});
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  if (written == CUDA_SUCCESS) {
    EXPECT_EQ(pages.data()[64], std::byte{77});
  }
  EXPECT_EQ(driver.cuMemHostUnregister(pages.data()), CUDA_SUCCESS);
}

TEST_F(Conformance, PageableSourceMayChangeAfterTheCall) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  std::vector<unsigned char> host(4096, 5);
  EXPECT_EQ(driver.cuMemcpyHtoDAsync_v2(address, host.data(), host.size(), stream), CUDA_SUCCESS);
  std::fill(host.begin(), host.end(), 6);
  std::vector<unsigned char> back(4096);
  EXPECT_EQ(driver.cuMemcpyDtoHAsync_v2(back.data(), address, back.size(), stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  ExpectText(Known::kInferred, "a pageable source is taken at the call", std::to_string(back[0]), "5");
  Free(address);
}

}  // namespace
}  // namespace zerohop::conformance

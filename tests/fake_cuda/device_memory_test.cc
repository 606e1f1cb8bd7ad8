#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

using namespace cuda;  // NOLINT: the tests speak the driver's language

unsigned long long Counted(const char* name) {
  return fakecu_counter(::getpid(), name);
}

TEST(EmulatedMemoryDeathTest, HostReadOfADevicePointerFaults) {
  const Device device;
  const CUdeviceptr address = device.Alloc(kArenaBytes);
  EXPECT_DEATH(std::printf("%d\n", *reinterpret_cast<volatile int*>(address)), "");
}

TEST(EmulatedMemory, FreshMemoryIsPoison) {
  const Device device;
  const CUdeviceptr address = device.Alloc(kArenaBytes);
  EXPECT_EQ(device.ByteAt(address), kFakeCudaFresh);
  EXPECT_EQ(device.ByteAt(address + kArenaBytes - 1), kFakeCudaFresh);
}

TEST(EmulatedMemory, SizesAreRoundedAndSmallOnesShareABlock) {
  const Device device;
  const size_t before = device.FreeBytes();
  const CUdeviceptr first = device.Alloc(1);
  const CUdeviceptr second = device.Alloc(1000);
  size_t bytes = 0;
  EXPECT_EQ(cuMemGetAddressRange_v2(nullptr, &bytes, first), CUDA_SUCCESS);
  EXPECT_EQ(bytes, 512U);
  EXPECT_EQ(before - device.FreeBytes(), 2 * kMiB);
  EXPECT_EQ(cuMemFree_v2(first), CUDA_SUCCESS);
  EXPECT_EQ(cuMemFree_v2(second), CUDA_SUCCESS);
  EXPECT_EQ(device.FreeBytes(), before);
}

TEST(EmulatedMemory, FreedAddressesComeBackOnlyWhenAsked) {
  for (const bool reuse : {false, true}) {
    EmulatedPeer peer({std::string("FAKECU_VA_REUSE=") + (reuse ? "1" : "0")});
    const std::string first = peer.Do("alloc 2097152");
    const std::string address = peer.Do("address " + first);
    peer.Do("free " + first);
    const std::string second = peer.Do("address " + peer.Do("alloc 2097152"));
    EXPECT_EQ(second == address, reuse);
  }
}

TEST(EmulatedMemory, AddressesDifferBetweenProcesses) {
  EmulatedPeer one;
  EmulatedPeer other;
  EXPECT_NE(one.Do("address " + one.Do("alloc 2097152")), other.Do("address " + other.Do("alloc 2097152")));
}

TEST(EmulatedMemory, DeviceIsSharedByTheNamespace) {
  const Device device;
  const size_t before = device.FreeBytes();
  EmulatedPeer peer;
  peer.Do("alloc 4194304");
  EXPECT_EQ(before - device.FreeBytes(), 4 * kMiB);
  EXPECT_EQ(peer.Ask("alloc " + std::to_string(before)).code, CUDA_ERROR_OUT_OF_MEMORY);
}

TEST(EmulatedMemory, KilledProcessGivesItsMemoryBack) {
  const Device device;
  const size_t before = device.FreeBytes();
  EmulatedPeer peer;
  peer.Do("alloc 4194304");
  peer.Kill();
  fakecu_sweep();
  EXPECT_EQ(device.FreeBytes(), before);
}

TEST(EmulatedMemory, MemoryFreedUnderAnImporterStaysTaken) {
  const Device device;
  const size_t before = device.FreeBytes();
  EmulatedPeer exporter({"FAKECU_UB=pin"});
  EmulatedPeer importer;
  const std::string arena = exporter.Do("alloc 4194304");
  const std::string there = importer.Do("open " + exporter.Do("export " + arena));
  exporter.Do("free " + arena);
  EXPECT_EQ(before - device.FreeBytes(), 4 * kMiB);
  EXPECT_EQ(fakecu_counter(exporter.pid(), "undefined"), 1U);
  importer.Do("close " + there);
  EXPECT_EQ(device.FreeBytes(), before);
}

TEST(EmulatedMemory, OpensAndMappingsAreCounted) {
  const Device device;
  EmulatedPeer exporter;
  const std::string bytes = absl::HexStringToBytes(exporter.Do("export " + exporter.Do("alloc 2097152")));
  CUipcMemHandle handle{};
  std::memcpy(handle.reserved, bytes.data(), sizeof(handle.reserved));
  CUdeviceptr address = 0;
  const auto mappings = Counted("mappings");
  const auto opens = Counted("opens");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(cuIpcOpenMemHandle_v2(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS), CUDA_SUCCESS);
  }
  EXPECT_EQ(Counted("mappings") - mappings, 1U);
  EXPECT_EQ(Counted("opens") - opens, 2U);
  EXPECT_EQ(cuIpcCloseMemHandle(address), CUDA_SUCCESS);
  EXPECT_EQ(cuIpcCloseMemHandle(address), CUDA_SUCCESS);
  EXPECT_EQ(fakecu_counter(0, "no such counter"), ~0ULL);
}

TEST(EmulatedMemory, PageableCopiesAreCounted) {
  const Device device;
  const CUdeviceptr address = device.Alloc(kArenaBytes);
  void* pages = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(cuMemHostRegister_v2(pages, 8192, CU_MEMHOSTREGISTER_PORTABLE), CUDA_SUCCESS);
  const auto pageable = Counted("pageable_copies");
  const auto bytes = Counted("bytes_dtoh");
  EXPECT_EQ(cuMemcpyDtoHAsync_v2(pages, address, 8192, device.stream), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamSynchronize(device.stream), CUDA_SUCCESS);
  EXPECT_EQ(Counted("pageable_copies"), pageable);
  EXPECT_EQ(Counted("bytes_dtoh") - bytes, 8192U);
  std::vector<char> pageable_memory(100);
  EXPECT_EQ(cuMemcpyDtoHAsync_v2(pageable_memory.data(), address, 100, device.stream), CUDA_SUCCESS);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, pageable_memory.data(), 100, device.stream), CUDA_SUCCESS);
  EXPECT_EQ(Counted("pageable_copies") - pageable, 2U);
  EXPECT_EQ(cuStreamSynchronize(device.stream), CUDA_SUCCESS);
  EXPECT_EQ(cuMemHostUnregister(pages), CUDA_SUCCESS);
  ::munmap(pages, 8192);
}

TEST(EmulatedMemory, UnmappedMemoryCannotBeRegistered) {
  const Device device;
  void* pages = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ::munmap(pages, 8192);
  EXPECT_EQ(cuMemHostRegister_v2(pages, 8192, CU_MEMHOSTREGISTER_PORTABLE), CUDA_ERROR_INVALID_VALUE);
}

TEST(EmulatedMemory, StaleHandlesGetTheErrorThatWasAskedFor) {
  EmulatedPeer exporter;
  const std::string arena = exporter.Do("alloc 2097152");
  const std::string handle = exporter.Do("export " + arena);
  exporter.Do("free " + arena);
  for (const unsigned error : {1U, 205U, 400U}) {
    EmulatedPeer importer({"FAKECU_STALE_ERR=" + std::to_string(error)});
    EXPECT_EQ(importer.Ask("open " + handle).code, error);
  }
}

TEST(EmulatedMemoryDeathTest, LenientModeExportsFromInsideAndHasANullStream) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_STRICT", "0", 1);
        const Device device;
        CUipcMemHandle handle{};
        const bool exported = cuIpcGetMemHandle(&handle, device.Alloc(kArenaBytes) + 512) == CUDA_SUCCESS;
        ::_exit(exported && cuStreamSynchronize(nullptr) == CUDA_SUCCESS ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedMemory, KilledAtAnyMomentAProcessLeavesTheRegistryUsable) {
  const Device device;
  const size_t before = device.FreeBytes();
  for (int round = 0; round < 10; ++round) {
    EmulatedPeer peer;
    // Kills at ever other moments, as many answers in as the round counts.
    for (int i = 0; i < 40; ++i) peer.Send("alloc 65536");
    for (int i = 0; i < 3 * round; ++i) (void)peer.Receive();
    peer.Kill();
  }
  fakecu_sweep();
  EXPECT_EQ(device.FreeBytes(), before);
  EXPECT_EQ(cuMemFree_v2(device.Alloc(kArenaBytes)), CUDA_SUCCESS);
}

}  // namespace
}  // namespace zerohop::fake_cuda

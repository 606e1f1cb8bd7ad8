// Memory of other processes. What is undefined is in undefined_conformance.cc.

#include <unistd.h>

#include "tests/fake_cuda/conformance/house.h"

namespace zerohop::conformance {
namespace {

using enum cuda::CUresult;
using cuda::CUcontext;
using cuda::CUdeviceptr;
using cuda::CUipcMemHandle;

// An exporter in another process, and an arena of it; most tests import it.
class Imported : public Conformance {
 protected:
  Imported() {
    exporter.Do("start");
    arena = exporter.Do("alloc " + std::to_string(kArenaBytes));
    handle_text = exporter.Do("export " + arena);
    handle = HandleFrom<CUipcMemHandle>(handle_text);
  }
  CUdeviceptr MustOpen() const {
    CUdeviceptr address = 0;
    EXPECT_EQ(Open(handle, &address), CUDA_SUCCESS);
    return address;
  }
  void Close(CUdeviceptr address) const { EXPECT_EQ(driver.cuIpcCloseMemHandle(address), CUDA_SUCCESS); }

  Peer exporter;
  std::string arena;
  std::string handle_text;
  CUipcMemHandle handle;
};

TEST_F(Conformance, ExportTakesOnlyLiveAllocations) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  CUipcMemHandle handle{};
  int local = 0;
  Expect(Known::kInferred, "export of host memory",
         driver.cuIpcGetMemHandle(&handle, reinterpret_cast<CUdeviceptr>(&local)),
         {CUDA_ERROR_INVALID_VALUE});
  Expect(Known::kObserved, "export of an interior pointer", driver.cuIpcGetMemHandle(&handle, address + 512),
         {CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS});
  Expect(Known::kInferred, "export to nowhere", driver.cuIpcGetMemHandle(nullptr, address),
         {CUDA_ERROR_INVALID_VALUE});
  Free(address);
  Expect(Known::kTested, "export of freed memory", driver.cuIpcGetMemHandle(&handle, address),
         {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, ExportMayBeRepeated) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  CUipcMemHandle first{};
  CUipcMemHandle second{};
  EXPECT_EQ(driver.cuIpcGetMemHandle(&first, address), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuIpcGetMemHandle(&second, address), CUDA_SUCCESS);
  const bool same = std::memcmp(&first, &second, sizeof(first)) == 0;
  ExpectText(Known::kInferred, "two handles of the same memory are the same", same ? "yes" : "no", "yes");
  Free(address);
}

TEST_F(Conformance, NewMemoryHasANewHandle) {
  const CUdeviceptr before = Alloc(kArenaBytes);
  CUipcMemHandle first{};
  EXPECT_EQ(driver.cuIpcGetMemHandle(&first, before), CUDA_SUCCESS);
  Free(before);
  const CUdeviceptr after = Alloc(kArenaBytes);
  CUipcMemHandle second{};
  EXPECT_EQ(driver.cuIpcGetMemHandle(&second, after), CUDA_SUCCESS);
  const bool same = std::memcmp(&first, &second, sizeof(first)) == 0;
  ExpectText(Known::kDocumented, "a handle of freed memory comes again", same ? "yes" : "no", "no");
  Free(after);
}

TEST_F(Conformance, ExporterCannotOpenItsOwnHandle) {
  const CUdeviceptr address = Alloc(kArenaBytes);
  CUipcMemHandle handle{};
  EXPECT_EQ(driver.cuIpcGetMemHandle(&handle, address), CUDA_SUCCESS);
  CUdeviceptr again = 0;
  Expect(Known::kTested, "opening in the exporting process", Open(handle, &again),
         {CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE});
  Expect(Known::kTested, "closing in the exporting process", driver.cuIpcCloseMemHandle(address),
         {CUDA_ERROR_INVALID_VALUE});
  Free(address);
}

TEST_F(Conformance, CloseTakesOnlyImports) {
  Expect(Known::kTested, "closing NULL", driver.cuIpcCloseMemHandle(0), {CUDA_ERROR_INVALID_VALUE});
  Expect(Known::kInferred, "closing an unknown pointer", driver.cuIpcCloseMemHandle(0x1234'5678'0000),
         {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Conformance, GarbageIsNoHandle) {
  CUipcMemHandle garbage{};
  std::memset(garbage.reserved, 0x5A, sizeof(garbage.reserved));
  CUdeviceptr address = 0;
  Expect(Known::kTested, "opening garbage", Open(garbage, &address),
         {CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_MAP_FAILED,
          CUDA_ERROR_INVALID_HANDLE});
}

TEST_F(Imported, BothSeeTheSameMemory) {
  const CUdeviceptr address = MustOpen();
  exporter.Do("fill " + arena + " 0 11 4096");
  Peer other;
  other.Do("start");
  const std::string there = other.Do("open " + handle_text);
  EXPECT_EQ(other.Do("read " + there + " 0 4096"), "11");
  EXPECT_EQ(driver.cuMemsetD8Async(address + 4096, 12, 4096, stream), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  EXPECT_EQ(exporter.Do("read " + arena + " 4096 4096"), "12");
  EXPECT_EQ(other.Do("read " + there + " 4096 4096"), "12");
  Close(address);
  // The others go on.
  EXPECT_EQ(exporter.Do("read " + arena + " 4096 4096"), "12");
  EXPECT_EQ(other.Do("read " + there + " 4096 4096"), "12");
}

TEST_F(Imported, OpenChecksItsFlags) {
  CUdeviceptr address = 0;
  Expect(Known::kDocumented, "opening without the mandatory flag",
         driver.cuIpcOpenMemHandle_v2(&address, handle, 0), {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Imported, OpeningAgainCountsAndGivesTheSameAddress) {
  const CUdeviceptr first = MustOpen();
  CUdeviceptr second = 0;
  Expect(Known::kDocumented, "opening again in the same context", Open(handle, &second),
         {CUDA_SUCCESS, CUDA_ERROR_ALREADY_MAPPED});
  EXPECT_EQ(first, second);
  Close(first);
  EXPECT_EQ(driver.cuMemsetD8Async(first, 1, 4096, stream), CUDA_SUCCESS) << "mapped until the last close";
  EXPECT_EQ(driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
  Close(second);
  Expect(Known::kInferred, "one close too many", driver.cuIpcCloseMemHandle(first),
         {CUDA_ERROR_INVALID_VALUE});
}

TEST_F(Imported, OpeningAgainByTheOldFunction) {
  if (TheSubject().open_memory_v1 == nullptr) GTEST_SKIP() << "only a real driver has it";
  const CUdeviceptr address = MustOpen();
  CUdeviceptr again = 0;
  const cuda::CUresult result =
      TheSubject().open_memory_v1(&again, handle, cuda::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  Expect(Known::kObserved, "opening again by the function of old drivers", result,
         {CUDA_ERROR_ALREADY_MAPPED});
  if (result == CUDA_SUCCESS) Close(again);
  Close(address);
}

TEST_F(Imported, SecondContextMayNotOpenIt) {
  if (TheSubject().second_context == nullptr) GTEST_SKIP() << "no way to a second context";
  const CUdeviceptr address = MustOpen();
  CUcontext second = nullptr;
  EXPECT_EQ(TheSubject().second_context(&second, 0), CUDA_SUCCESS);
  EXPECT_EQ(driver.cuCtxSetCurrent(second), CUDA_SUCCESS);
  CUdeviceptr again = 0;
  Expect(Known::kTested, "opening from a second context", Open(handle, &again),
         {CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_CONTEXT});
  if (TheSubject().destroy_context != nullptr) TheSubject().destroy_context(second);
  EXPECT_EQ(driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
  Close(address);
}

TEST_F(Imported, ImportIsNotOursToFreeOrToExport) {
  const CUdeviceptr address = MustOpen();
  Expect(Known::kInferred, "cuMemFree of an import", driver.cuMemFree_v2(address),
         {CUDA_ERROR_INVALID_VALUE});
  CUipcMemHandle again{};
  Expect(Known::kInferred, "export of an import", driver.cuIpcGetMemHandle(&again, address),
         {CUDA_ERROR_INVALID_VALUE});
  Close(address);
}

TEST_F(Imported, ImportHasTheRangeOfTheAllocation) {
  const CUdeviceptr address = MustOpen();
  CUdeviceptr base = 0;
  size_t bytes = 0;
  EXPECT_EQ(driver.cuMemGetAddressRange_v2(&base, &bytes, address), CUDA_SUCCESS);
  ExpectText(Known::kInferred, "offset of an import in its range", std::to_string(address - base), "0");
  ExpectText(Known::kInferred, "size of an import", std::to_string(bytes), std::to_string(kArenaBytes));
  Close(address);
}

TEST_F(Imported, HandleOfFreedMemoryIsStale) {
  exporter.Do("free " + arena);
  CUdeviceptr address = 0;
  Expect(Known::kObserved, "opening a handle of freed memory", Open(handle, &address),
         {CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_MAP_FAILED,
          CUDA_ERROR_INVALID_HANDLE});
}

TEST_F(Imported, HandleOfKilledExporterIsStale) {
  exporter.Kill();
  CUdeviceptr address = 0;
  Expect(Known::kObserved, "opening a handle of a killed process", Open(handle, &address),
         {CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_INVALID_CONTEXT,
          CUDA_ERROR_MAP_FAILED});
}

TEST_F(Imported, KilledImporterLeavesTheExporterUnaffected) {
  {
    Peer importer;
    importer.Do("start");
    const std::string there = importer.Do("open " + handle_text);
    importer.Do("fill " + there + " 0 33 4096");
    importer.Kill();
  }
  EXPECT_EQ(exporter.Do("read " + arena + " 0 4096"), "33");
  // Its import went with it, so that this is no free under an importer.
  EXPECT_EQ(exporter.Ask("free " + arena).code, CUDA_SUCCESS);
}

TEST_F(Conformance, EmulatorTakesEqualPidsForOneProcess) {
  if (!TheSubject().emulated) GTEST_SKIP() << "needs two pid namespaces";
  Peer exporter({"FAKECU_PID=1"});
  exporter.Do("start");
  const std::string handle = exporter.Do("export " + exporter.Do("alloc 2097152"));
  Peer importer({"FAKECU_PID=1"});
  importer.Do("start");
  EXPECT_EQ(importer.Ask("open " + handle).code, CUDA_ERROR_INVALID_CONTEXT);
}

TEST_F(Conformance, EmulatorAnswersForHiddenDevicesAsTold) {
  if (!TheSubject().emulated) GTEST_SKIP() << "needs two devices";
  // A namespace of their own, as its first process says how many devices there are.
  const std::string name_space = "FAKECU_NS=hidden-" + std::to_string(::getpid());
  Peer exporter({name_space, "FAKECU_DEVICES=2", "FAKECU_VISIBLE=1"});
  exporter.Do("start");
  const std::string handle = exporter.Do("export " + exporter.Do("alloc 2097152"));
  Peer strict({name_space, "FAKECU_VISIBLE=0", "FAKECU_HIDDEN=1"});
  strict.Do("start");
  EXPECT_EQ(strict.Ask("open " + handle).code, CUDA_ERROR_INVALID_VALUE);
  Peer lenient({name_space, "FAKECU_VISIBLE=0", "FAKECU_HIDDEN=ok"});
  lenient.Do("start");
  EXPECT_EQ(lenient.Ask("open " + handle).code, CUDA_SUCCESS);
  // The importers first; the last one takes the namespace with it.
  EXPECT_EQ(lenient.Exit(), 0);
  EXPECT_EQ(strict.Exit(), 0);
  EXPECT_EQ(exporter.Exit(), 0);
}

TEST_F(Conformance, EmulatorShowsTheNeighboursOfSmallAllocations) {
  if (!TheSubject().emulated) GTEST_SKIP() << "which allocations are neighbours is the driver's secret";
  Peer exporter;
  exporter.Do("start");
  const std::string first = exporter.Do("alloc 1024");
  const std::string second = exporter.Do("alloc 1024");
  exporter.Do("fill " + second + " 0 99 1024");
  Peer importer;
  importer.Do("start");
  const std::string there = importer.Do("open " + exporter.Do("export " + first));
  EXPECT_EQ(importer.Do("read " + there + " 1024 1024"), "99");
}

}  // namespace
}  // namespace zerohop::conformance

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

using namespace cuda;  // NOLINT: the tests speak the driver's language

CUstream MakeStream() {
  CUstream stream = nullptr;
  EXPECT_EQ(cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
  return stream;
}

CUevent MakeEvent() {
  CUevent event = nullptr;
  EXPECT_EQ(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
  return event;
}

TEST(EmulatedStream, WhoDoesNotWaitForAHeldStreamReadsPoison) {
  const Device device;
  const CUdeviceptr address = device.Alloc(kArenaBytes);
  const CUstream producer = MakeStream();
  const CUevent done = MakeEvent();
  EXPECT_EQ(fakecu_hold_stream(producer), CUDA_SUCCESS);
  EXPECT_EQ(cuMemsetD8Async(address, 3, 4096, producer), CUDA_SUCCESS);
  EXPECT_EQ(cuEventRecord(done, producer), CUDA_SUCCESS);
  EXPECT_EQ(device.ByteAt(address), kFakeCudaFresh);
  EXPECT_EQ(fakecu_release_stream(producer), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamWaitEvent(device.stream, done, CU_EVENT_WAIT_DEFAULT), CUDA_SUCCESS);
  EXPECT_EQ(device.ByteAt(address), 3);
  EXPECT_EQ(cuEventDestroy_v2(done), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamDestroy_v2(producer), CUDA_SUCCESS);
}

TEST(EmulatedStream, WorkStartsNoSoonerThanTheDelay) {
  EmulatedPeer peer({"FAKECU_DELAY_US=30000"});
  const std::string arena = peer.Do("alloc 2097152");
  const auto start = std::chrono::steady_clock::now();
  peer.Do("fill " + arena + " 0 1 4096");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(30));
}

TEST(EmulatedStream, WorkSubmittedBeforeADestroyIsDone) {
  const Device device;
  const CUdeviceptr address = device.Alloc(kArenaBytes);
  const CUstream gone = MakeStream();
  const CUevent done = MakeEvent();
  EXPECT_EQ(cuMemsetD8Async(address, 4, 4096, gone), CUDA_SUCCESS);
  EXPECT_EQ(cuEventRecord(done, gone), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamDestroy_v2(gone), CUDA_SUCCESS);
  EXPECT_EQ(cuEventSynchronize(done), CUDA_SUCCESS);
  EXPECT_EQ(device.ByteAt(address), 4);
  EXPECT_EQ(cuEventDestroy_v2(done), CUDA_SUCCESS);
}

TEST(EmulatedStream, LaunchedFunctionReachesDeviceMemory) {
  const Device device;
  CUdeviceptr address = device.Alloc(kArenaBytes);
  const auto kernel = [](void* argument) {
    *static_cast<unsigned char*>(fakecu_access(*static_cast<CUdeviceptr*>(argument), 1)) = 9;
  };
  EXPECT_EQ(fakecu_access(address, 1), nullptr) << "only within a launched function";
  EXPECT_EQ(fakecu_launch(device.stream, kernel, &address), CUDA_SUCCESS);
  EXPECT_EQ(device.ByteAt(address), 9);
}

#ifdef __SANITIZE_THREAD__
TEST(EmulatedStreamDeathTest, ThreadSanitizerSeesAMissingSynchronisation) {
  constexpr int kRaceFound = 66;
  EXPECT_EXIT(
      {
        const Device device;
        const CUdeviceptr address = device.Alloc(kArenaBytes);
        static unsigned char pages[4096];
        cuMemHostRegister_v2(pages, sizeof(pages), CU_MEMHOSTREGISTER_PORTABLE);
        cuMemcpyDtoHAsync_v2(pages, address, sizeof(pages), device.stream);
        // Sees the bytes arrive, but nothing orders it with the copy.
        while (const_cast<volatile unsigned char&>(pages[0]) != kFakeCudaFresh) std::this_thread::yield();
        cuStreamSynchronize(device.stream);
        std::exit(0);
      },
      testing::ExitedWithCode(kRaceFound), "data race");
}
#endif

// Breaks the context of a process of its own, and says with its exit status what came after.
TEST(EmulatedStreamDeathTest, BadAddressBreaksTheProcessForGood) {
  EXPECT_EXIT(
      {
        Device device;
        CUdeviceptr beyond = device.Alloc(kArenaBytes) + kArenaBytes;
        const auto kernel = [](void* argument) { fakecu_access(*static_cast<CUdeviceptr*>(argument), 1); };
        bool as_told = fakecu_launch(device.stream, kernel, &beyond) == CUDA_SUCCESS;
        as_told &= cuStreamSynchronize(device.stream) == CUDA_ERROR_ILLEGAL_ADDRESS;
        CUdeviceptr more = 0;
        as_told &= cuMemAlloc_v2(&more, 512) == CUDA_ERROR_ILLEGAL_ADDRESS;
        // Not even in a new context.
        as_told &= cuDevicePrimaryCtxRelease_v2(0) == CUDA_SUCCESS;
        as_told &= cuDevicePrimaryCtxRetain(&device.context, 0) == CUDA_SUCCESS;
        as_told &= cuCtxSetCurrent(device.context) == CUDA_SUCCESS;
        as_told &= cuMemAlloc_v2(&more, 512) == CUDA_ERROR_ILLEGAL_ADDRESS;
        ::_exit(as_told ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedStreamDeathTest, FreeUnderAPendingCopyBreaksTheContext) {
  EXPECT_EXIT(
      {
        const Device device;
        const CUdeviceptr address = device.Alloc(kArenaBytes);
        bool as_told = fakecu_hold_stream(device.stream) == CUDA_SUCCESS;
        as_told &= cuMemsetD8Async(address, 1, 512, device.stream) == CUDA_SUCCESS;
        as_told &= cuMemFree_v2(address) == CUDA_SUCCESS;
        as_told &= fakecu_release_stream(device.stream) == CUDA_SUCCESS;
        as_told &= cuStreamSynchronize(device.stream) == CUDA_ERROR_ILLEGAL_ADDRESS;
        ::_exit(as_told ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedStreamDeathTest, BrokenContextCallsNoHostFunctionAndCompletesNoEvent) {
  EXPECT_EXIT(
      {
        const Device device;
        static std::atomic<bool> called = false;
        CUevent event = nullptr;
        bool as_told = cuEventCreate(&event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS;
        as_told &= fakecu_set_faults(::getpid(), "async:nth=1:err=700") == CUDA_SUCCESS;
        as_told &= fakecu_hold_stream(device.stream) == CUDA_SUCCESS;
        as_told &= cuLaunchHostFunc(
                       device.stream, [](void*) { called = true; }, nullptr) == CUDA_SUCCESS;
        as_told &= cuEventRecord(event, device.stream) == CUDA_SUCCESS;
        as_told &= fakecu_release_stream(device.stream) == CUDA_SUCCESS;
        as_told &= cuEventSynchronize(event) == CUDA_ERROR_ILLEGAL_ADDRESS;
        as_told &= cuStreamQuery(device.stream) == CUDA_ERROR_ILLEGAL_ADDRESS;
        ::_exit(as_told && !called ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatedEvent, InterprocessEventsHaveALimit) {
  // Of the namespace, hence one of its own.
  EmulatedPeer peer({"FAKECU_MAX_EVENTS=1", "FAKECU_NS=events-" + std::to_string(::getpid())});
  const std::string event = peer.Do("event 6");
  EXPECT_EQ(peer.Ask("event 6").code, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(peer.Ask("event 2").code, CUDA_SUCCESS);
  peer.Do("destroy_event " + event);
  EXPECT_EQ(peer.Ask("event 6").code, CUDA_SUCCESS);
  EXPECT_EQ(peer.Exit(), 0);
}

}  // namespace
}  // namespace zerohop::fake_cuda

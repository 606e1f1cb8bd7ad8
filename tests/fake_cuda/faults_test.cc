#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

using namespace cuda;  // NOLINT: the tests speak the driver's language

TEST(EmulatorFaults, NonsenseIsRefused) {
  for (const char* text : {"cuMemAlloc", "cuMemAlloc:", "cuMemAlloc:nth=0", "cuMemAlloc:nth=x:err=2",
                           "cuMemAlloc:sigkill=soon", "cuMemAlloc:errr=2", "cuMemAlloc:hang=1"}) {
    EXPECT_EQ(fakecu_set_faults(0, text), CUDA_ERROR_INVALID_VALUE) << text;
  }
}

TEST(EmulatorFaults, NthCallFailsAndNoOther) {
  EmulatedPeer peer({"FAKECU_FAULT=cuMemAlloc:nth=2:err=2; cuMemFree:err=999"});
  EXPECT_EQ(peer.Ask("alloc 512").code, CUDA_SUCCESS);
  EXPECT_EQ(peer.Ask("alloc 512").code, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(peer.Ask("alloc 512").code, CUDA_SUCCESS);
  EXPECT_EQ(peer.Ask("free 0").code, CUDA_ERROR_UNKNOWN);
  EXPECT_EQ(fakecu_counter(peer.pid(), "faults"), 2U);
}

TEST(EmulatorFaults, LiveFaultStrikesOnlyItsProcessUntilCleared) {
  EmulatedPeer one;
  EmulatedPeer other;
  EXPECT_EQ(fakecu_set_faults(one.pid(), "cuMemAlloc_v2:err=2"), CUDA_SUCCESS);
  EXPECT_EQ(one.Ask("alloc 512").code, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(other.Ask("alloc 512").code, CUDA_SUCCESS);
  EXPECT_EQ(fakecu_set_faults(one.pid(), ""), CUDA_SUCCESS);
  EXPECT_EQ(one.Ask("alloc 512").code, CUDA_SUCCESS);
}

TEST(EmulatorFaults, ChanceIsTheSameForTheSameSeed) {
  std::string pattern[2];
  for (std::string& answers : pattern) {
    EmulatedPeer peer({"FAKECU_FAULT=cuMemAlloc:p=.5:seed=7:err=2"});
    for (int i = 0; i < 32; ++i) answers += peer.Ask("alloc 512").code == CUDA_SUCCESS ? '+' : '-';
  }
  EXPECT_EQ(pattern[0], pattern[1]);
  EXPECT_NE(pattern[0].find('+'), std::string::npos);
  EXPECT_NE(pattern[0].find('-'), std::string::npos);
}

TEST(EmulatorFaults, KillComesBeforeOrAfterTheWork) {
  EmulatedPeer watcher;
  const auto made = [] { return fakecu_counter(0, "allocations"); };
  for (const bool after : {false, true}) {
    EmulatedPeer peer({std::string("FAKECU_FAULT=cuMemAlloc:sigkill=") + (after ? "after" : "before")});
    const auto before = made();
    EXPECT_TRUE(peer.Ask("alloc 512").died);
    EXPECT_EQ(WTERMSIG(peer.Wait()), SIGKILL);
    EXPECT_EQ(made() - before, after ? 1U : 0U);
  }
}

TEST(EmulatorFaults, HungCallNeverReturns) {
  EmulatedPeer peer({"FAKECU_FAULT=cuMemAlloc:hang"});
  peer.Send("alloc 512");
  while (fakecu_counter(peer.pid(), "faults") == 0) std::this_thread::yield();
  EXPECT_EQ(fakecu_counter(peer.pid(), "allocations"), 0U);
  peer.Kill();
}

TEST(EmulatorFaults, DelayedCallTakesItsTime) {
  EmulatedPeer peer({"FAKECU_FAULT=cuMemAlloc:delay_us=30000"});
  const auto start = std::chrono::steady_clock::now();
  peer.Do("alloc 512");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(30));
}

}  // namespace
}  // namespace zerohop::fake_cuda

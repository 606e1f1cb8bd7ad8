// cuda_conformance: holds a libcuda.so.1 against the rules that the product relies
// on, be it the emulator, where everything is asserted, or a real
// driver, where what we only concluded or heard is compared, and differences printed.
// Finds the library as any program does (LD_LIBRARY_PATH). Exits with 77 where
// there is no driver or no device.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/fake_cuda/conformance/peer_role.h"
#include "tests/fake_cuda/conformance/subject.h"

namespace {

// What the results hold for.
void PrintSubject() {
  const auto& subject = zerohop::conformance::TheSubject();
  int version = 0;
  char name[128] = {};
  (void)subject.driver.cuDriverGetVersion(&version);
  (void)subject.driver.cuDeviceGetName(name, sizeof(name), 0);
  std::printf("under test: %s, CUDA %d.%d, %s\n", subject.emulated ? "the emulated driver" : "a real driver",
              version / 1000, version % 1000 / 10, name);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace zerohop::conformance;  // NOLINT: main speaks of nothing else
  if (argc > 1 && std::strcmp(argv[1], kPeerRole) == 0) return PlayPeer();
  testing::InitGoogleTest(&argc, argv);
  // Devices of our own, shared with our peers only.
  ::setenv("FAKECU_NS", ("conformance-" + std::to_string(::getpid())).c_str(), 0);
  const absl::Status usable = TheSubject().driver.Init();
  if (!usable.ok()) {
    std::fprintf(stderr, "skipped: %s\n", std::string(usable.message()).c_str());
    return 77;
  }
  PrintSubject();
  return RUN_ALL_TESTS();
}

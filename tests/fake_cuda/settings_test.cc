#include <cstdio>
#include <cstring>

#include "tests/fake_cuda/emulator_house.h"

namespace zerohop::fake_cuda {
namespace {

using namespace cuda;  // NOLINT: the tests speak the driver's language

// All in children of their own: settings are read once in a process.

TEST(EmulatorSettingsDeathTest, NonsenseEndsTheProcess) {
  EXPECT_DEATH(
      {
        ::setenv("FAKECU_UB", "maybe", 1);
        cuInit(0);
      },
      "FAKECU_UB=maybe makes no sense");
}

TEST(EmulatorSettingsDeathTest, AttributesCanDiffer) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_ATTRIBUTES", "18=1,125=0", 1);
        cuInit(0);
        int integrated = 0;
        int events = 1;
        cuDeviceGetAttribute(&integrated, CU_DEVICE_ATTRIBUTE_INTEGRATED, 0);
        cuDeviceGetAttribute(&events, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 0);
        ::_exit(integrated == 1 && events == 0 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EmulatorSettingsDeathTest, VisibleDevicesAreNumberedAsListed) {
  EXPECT_EXIT(
      {
        ::setenv("FAKECU_NS", ("visible-" + std::to_string(::getpid())).c_str(), 1);
        ::setenv("FAKECU_DEVICES", "3", 1);
        ::setenv("FAKECU_VISIBLE", "2,0", 1);
        cuInit(0);
        int count = 0;
        cuDeviceGetCount(&count);
        CUuuid uuid{};
        cuDeviceGetUuid_v2(&uuid, 0);
        std::exit(count == 2 && std::strncmp(uuid.bytes, "fake-cuda-gpu-2", sizeof(uuid.bytes)) == 0 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace zerohop::fake_cuda

#include "shm/cuda/surroundings.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace zerohop {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A root of the file system with what a test puts there.
class Surrounded : public testing::Test {
 protected:
  Surrounded() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(testing::TempDir()) /
            ("surroundings-" + std::string(test->name()) + "-" + std::to_string(::getpid()));
    fs::create_directories(root_);
  }
  ~Surrounded() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void LinkPidNamespace(const std::string& target) {
    fs::create_directories(root_ / "proc/self/ns");
    fs::create_symlink(target, root_ / "proc/self/ns/pid");
  }
  Surroundings Read() const { return ReadSurroundings(root_.string(), "/run/mps"); }

  fs::path root_;
};

TEST_F(Surrounded, OrdinaryLinuxIsNeitherWslNorMps) {
  Write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
  const Surroundings around = Read();
  EXPECT_EQ(around.kernel, "6.1.0-18-amd64");
  EXPECT_FALSE(around.wsl);
  EXPECT_FALSE(around.mps);
  EXPECT_EQ(around.mps_directory, "/run/mps");
}

TEST_F(Surrounded, NothingReadableIsNoError) {
  const Surroundings around = Read();
  EXPECT_EQ(around.kernel, "");
  EXPECT_FALSE(around.wsl);
  EXPECT_EQ(around.pid_namespace, 0u);
  EXPECT_EQ(around.initial_pid_namespace, std::nullopt);
}

TEST_F(Surrounded, WslShowsInTheKernelsName) {
  Write("proc/sys/kernel/osrelease", "4.4.0-19041-Microsoft\n");
  EXPECT_TRUE(Read().wsl);
  Write("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n");
  EXPECT_TRUE(Read().wsl);
}

TEST_F(Surrounded, WslShowsInItsDevice) {
  Write("proc/sys/kernel/osrelease", "6.6.0-built-by-myself\n");
  Write("dev/dxg", "");
  EXPECT_TRUE(Read().wsl);
}

TEST_F(Surrounded, MpsIsThereWithItsControlPipeAlone) {
  fs::create_directories(root_ / "run/mps");
  EXPECT_FALSE(Read().mps);
  Write("run/mps/control", "");
  EXPECT_TRUE(Read().mps);
}

TEST_F(Surrounded, FirstPidNamespaceIsKnownByItsNumber) {
  LinkPidNamespace("pid:[4026531836]");
  const Surroundings around = Read();
  EXPECT_EQ(around.pid_namespace, 4026531836u);
  EXPECT_EQ(around.initial_pid_namespace, true);
}

TEST_F(Surrounded, AContainersPidNamespaceIsNotTheFirst) {
  LinkPidNamespace("pid:[4026532561]");
  const Surroundings around = Read();
  EXPECT_EQ(around.pid_namespace, 4026532561u);
  EXPECT_EQ(around.initial_pid_namespace, false);
}

TEST(Surroundings, OfThisProcessHaveAKernel) {
  EXPECT_NE(ReadSurroundings().kernel, "");
}

TEST(Surroundings, MpsIsLookedForWhereItsClientsLook) {
  ::unsetenv("CUDA_MPS_PIPE_DIRECTORY");
  EXPECT_EQ(ReadSurroundings().mps_directory, "/tmp/nvidia-mps");
  ::setenv("CUDA_MPS_PIPE_DIRECTORY", "/somewhere/else", 1);
  EXPECT_EQ(ReadSurroundings().mps_directory, "/somewhere/else");
  ::unsetenv("CUDA_MPS_PIPE_DIRECTORY");
}

// A device and surroundings that nothing speaks against.
CudaDeviceFacts GoodDevice() {
  CudaDeviceFacts device;
  device.unified_addressing = true;
  return device;
}

void ExpectHost(const ReturnVerdict& verdict, const std::string& word) {
  EXPECT_EQ(verdict.path, ReturnPath::kHost);
  EXPECT_THAT(verdict.reason, HasSubstr(word));
}

TEST(JudgeIpc, AllowsWhatNothingSpeaksAgainst) {
  const ReturnVerdict verdict = JudgeIpc(GoodDevice(), Surroundings());
  EXPECT_EQ(verdict.path, ReturnPath::kCudaIpc);
  EXPECT_EQ(verdict.reason, "");
}

TEST(JudgeIpc, RefusesWsl) {
  Surroundings around;
  around.wsl = true;
  ExpectHost(JudgeIpc(GoodDevice(), around), "WSL");
}

TEST(JudgeIpc, RefusesIntegratedDevices) {
  CudaDeviceFacts device = GoodDevice();
  device.integrated = true;
  ExpectHost(JudgeIpc(device, Surroundings()), "integrated");
}

TEST(JudgeIpc, RefusesDevicesWithoutUnifiedAddressing) {
  CudaDeviceFacts device = GoodDevice();
  device.unified_addressing = false;
  ExpectHost(JudgeIpc(device, Surroundings()), "unified addressing");
}

TEST(JudgeIpc, RefusesProhibitedDevices) {
  CudaDeviceFacts device = GoodDevice();
  device.prohibited = true;
  ExpectHost(JudgeIpc(device, Surroundings()), "prohibited");
  Surroundings under_mps;
  under_mps.mps = true;
  ExpectHost(JudgeIpc(device, under_mps), "prohibited");
}

TEST(JudgeIpc, RefusesExclusiveDevicesButUnderMps) {
  CudaDeviceFacts device = GoodDevice();
  device.exclusive = true;
  ExpectHost(JudgeIpc(device, Surroundings()), "exclusive");
  Surroundings under_mps;
  under_mps.mps = true;
  EXPECT_EQ(JudgeIpc(device, under_mps).path, ReturnPath::kCudaIpc);
}

TEST(JudgeIpc, AllowsContainersAndDevicesWithoutIpcEvents) {
  Surroundings container;
  container.pid_namespace = 4026532561;
  container.initial_pid_namespace = false;
  CudaDeviceFacts device = GoodDevice();
  device.ipc_events = false;
  EXPECT_EQ(JudgeIpc(device, container).path, ReturnPath::kCudaIpc);
}

}  // namespace
}  // namespace zerohop

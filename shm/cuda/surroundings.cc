#include "shm/cuda/surroundings.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace zerohop {
namespace {

namespace fs = std::filesystem;

// The kernel gives the first namespace this number, and no other one.
constexpr uint64_t kInitialPidNamespace = 0xEFFFFFFC;

constexpr char kUsualMpsDirectory[] = "/tmp/nvidia-mps";

bool Exists(const fs::path& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

std::string FirstLineOf(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t PidNamespaceOf(const fs::path& link) {
  std::error_code unreadable;
  const std::string target = fs::read_symlink(link, unreadable).string();
  unsigned long inode = 0;
  return std::sscanf(target.c_str(), "pid:[%lu]", &inode) == 1 ? inode : 0;
}

ReturnVerdict ByHost(std::string reason) {
  return {ReturnPath::kHost, std::move(reason)};
}

}  // namespace

Surroundings ReadSurroundings() {
  const char* directory = std::getenv("CUDA_MPS_PIPE_DIRECTORY");
  const bool named = directory != nullptr && *directory != 0;
  return ReadSurroundings("/", named ? directory : kUsualMpsDirectory);
}

Surroundings ReadSurroundings(const std::string& root, const std::string& mps_directory) {
  const fs::path top(root);
  Surroundings around;
  around.kernel = FirstLineOf(top / "proc/sys/kernel/osrelease");
  around.wsl =
      absl::StrContains(absl::AsciiStrToLower(around.kernel), "microsoft") || Exists(top / "dev/dxg");
  around.mps_directory = mps_directory;
  around.mps = Exists(top / fs::path(mps_directory).relative_path() / "control");
  around.pid_namespace = PidNamespaceOf(top / "proc/self/ns/pid");
  if (around.pid_namespace != 0) {
    around.initial_pid_namespace = around.pid_namespace == kInitialPidNamespace;
  }
  return around;
}

ReturnVerdict JudgeIpc(const CudaDeviceFacts& device, const Surroundings& surroundings) {
  if (surroundings.wsl) return ByHost("CUDA IPC does not work under WSL");
  if (device.integrated) {
    return ByHost("the device is integrated, as those of Jetson are, and does not share memory by CUDA IPC");
  }
  if (!device.unified_addressing) {
    return ByHost("the device has no unified addressing, without which there is no CUDA IPC");
  }
  if (device.prohibited) return ByHost("compute mode is prohibited: no process may use the device");
  // Under MPS its server is that one process, and exclusive mode what NVIDIA recommends.
  if (device.exclusive && !surroundings.mps) {
    return ByHost(
        "compute mode is exclusive: one process at a time may use the device, and CUDA IPC is of two");
  }
  return {ReturnPath::kCudaIpc, ""};
}

}  // namespace zerohop

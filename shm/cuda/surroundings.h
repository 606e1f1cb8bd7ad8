#pragma once

// Surroundings: what CUDA IPC depends on outside of the device, and the rules
// that need no trial: where it is known not to work, nobody has to find out by an
// error, or by a crash. What the rules allow is still tried for real
// (ImportedArena::Open); equal pids of two namespaces show there, too, because
// one end cannot know the other's.

#include <cstdint>
#include <optional>
#include <string>

#include "shm/cuda/cuda_device.h"
#include "shm/return_path.h"

namespace zerohop {

struct Surroundings {
  std::string kernel;          // release, as of uname
  bool wsl = false;            // Windows Subsystem for Linux
  std::string mps_directory;   // where this process would look for the control pipe of MPS
  bool mps = false;            // it is there: processes reach the GPU through a server that they share
  uint64_t pid_namespace = 0;  // inode; 0 where it cannot be told
  std::optional<bool> initial_pid_namespace{};  // that of the host; of no container
};

// Those of this process.
Surroundings ReadSurroundings();
// The same below another root, for tests.
Surroundings ReadSurroundings(const std::string& root, const std::string& mps_directory);

// The best path that nothing speaks against at one end; each end asks for itself.
ReturnVerdict JudgeIpc(const CudaDeviceFacts& device, const Surroundings& surroundings);

}  // namespace zerohop

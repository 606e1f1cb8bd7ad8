#pragma once

// ArenaHandle: what another process needs to open a device arena (device_arena.h).

#include <cstdint>
#include <string>

#include "shm/cuda/cuda_api.h"

namespace zerohop {

struct ArenaHandle {
  std::string device;  // UUID
  cuda::CUipcMemHandle ipc{};
  uint64_t bytes = 0;
  uint64_t proof = 0;  // stands at the start of the arena until rows are written
};

}  // namespace zerohop

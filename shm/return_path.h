#pragma once

// ReturnPath: how the rows of a lane come from its engine to the broker. Agreed
// when a replica gets ready, for a generation.

#include <cstdint>
#include <string>
#include <string_view>

#include "shm/cuda/arena_handle.h"

namespace zerohop {

enum class ReturnPath : uint32_t {
  kHost,     // the replica puts them into the lane's response arena
  kCudaIpc,  // they lie in the broker's device arena, and the broker brings them to the host
};

constexpr std::string_view Name(ReturnPath path) {
  switch (path) {
    case ReturnPath::kHost:
      return "host";
    case ReturnPath::kCudaIpc:
      return "cuda_ipc";
  }
  return "unknown";
}

// What the broker offers beside the host path, which is always there.
struct DeviceOffer {
  ArenaHandle arena;
  bool required = false;  // a replica that cannot take it shall say why, and leave
};

// Which path it is, and in one sentence why not the other; empty where nobody need ask.
struct ReturnVerdict {
  ReturnPath path = ReturnPath::kHost;
  std::string reason{};
};

}  // namespace zerohop

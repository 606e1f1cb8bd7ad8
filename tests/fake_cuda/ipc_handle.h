#pragma once

// What stands in the 64 bytes of a handle.

#include <cstdint>
#include <optional>

#include "shm/cuda/cuda_api.h"

namespace zerohop::fake_cuda {

enum class HandleKind : uint32_t { kMemory = 1, kEvent = 2 };

struct HandleImage {
  uint32_t magic;
  HandleKind kind;
  uint64_t device_hash;  // of its UUID
  uint64_t exporter_start_time;
  uint64_t generation;
  uint64_t nonce;
  int32_t exporter_pid;  // as shown to peers
  uint32_t slot;
  uint64_t reserved;
  uint32_t reserved_too;
  uint32_t crc;  // of all before it
};
static_assert(sizeof(HandleImage) == cuda::CU_IPC_HANDLE_SIZE);

uint64_t DeviceHash(const cuda::CUuuid& uuid);

// Fills in magic and crc. `bytes`: the 64 of a handle.
void Seal(HandleImage image, void* bytes);

// Nothing for bytes that are no handle of this kind.
std::optional<HandleImage> Unseal(const void* bytes, HandleKind kind);

}  // namespace zerohop::fake_cuda

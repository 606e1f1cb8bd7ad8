#pragma once

// The memory of the emulated devices: blocks, each a shared-memory object of a
// multiple of 2 MiB, and the allocations that lie in them. Small allocations of
// one process share a block, as a driver may do it; so whoever imports one of
// them can reach its neighbours.
//
// All but Shadow and MapBlock under the registry's lock.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "tests/fake_cuda/registry_format.h"

namespace zerohop::fake_cuda {

inline constexpr uint64_t kBlockBytes = 2 << 20;
inline constexpr uint64_t kAllocationAlignment = 512;

// A block mapped into this process, where only the emulator knows of it.
class Shadow {
 public:
  Shadow(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}
  ~Shadow();
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  size_t bytes_;
};

// Null where the block's object is gone.
std::shared_ptr<Shadow> MapBlock(const Registry& registry, uint32_t block);

// An allocation of `bytes`, not 0, for process `owner`; its slot, or kNobody out of
// device memory. The contents are not touched.
uint32_t MakeAllocation(Registry& registry, uint32_t owner, uint32_t device, uint64_t bytes);

// The end of a live allocation by its owner or by the end of that. Under imports
// it goes on in the state `left`, poisoned if undefined behaviour shall hurt.
void EndAllocation(Registry& registry, uint32_t slot, AllocationState left);

// Gives back an allocation that is neither live nor imported any more.
void ReleaseIfUnused(Registry& registry, uint32_t slot);

// Gives back blocks that a killed process had made but not yet, or no longer, used.
void ReleaseUnusedBlocks(Registry& registry);

// Removes all that blocks left in /dev/shm, at the end of a namespace.
void RemoveObjects(Registry& registry);

bool Imported(const AllocationRecord& allocation);

// Bytes of a device that nobody can allocate any more.
uint64_t UsedBytes(const Registry& registry, uint32_t device);

}  // namespace zerohop::fake_cuda

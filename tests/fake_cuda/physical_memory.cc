#include "tests/fake_cuda/physical_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/undefined.h"

namespace zerohop::fake_cuda {
namespace {

constexpr uint64_t RoundUp(uint64_t bytes, uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

std::string ObjectPath(const Registry& registry, uint32_t block) {
  return NamespacePath("." + std::to_string(block) + "-" + std::to_string(registry.blocks[block].generation));
}

// The object of a block that is in use no more; or of one whose maker was killed before it was in use.
void RemoveObject(Registry& registry, uint32_t block) {
  BlockRecord& record = registry.blocks[block];
  if (record.generation == 0 || record.unlinked != 0) return;
  ::unlink(ObjectPath(registry, block).c_str());
  record.unlinked = 1;
}

uint32_t MakeBlock(Registry& registry, uint32_t device, uint64_t bytes) {
  if (UsedBytes(registry, device) + bytes > registry.devices[device].total_bytes) return kNobody;
  for (uint32_t i = 0; i < kMaxBlocks; ++i) {
    BlockRecord& block = registry.blocks[i];
    if (block.bytes != 0) continue;
    RemoveObject(registry, i);
    block = {.bytes = 0, .generation = ++registry.next_generation, .device = device, .unlinked = 0};
    const int fd = ::open(ObjectPath(registry, i).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return kNobody;
    const bool sized = ::ftruncate(fd, static_cast<off_t>(bytes)) == 0;
    ::close(fd);
    if (!sized) return kNobody;
    block.bytes = bytes;
    return i;
  }
  return kNobody;
}

// Where `bytes` fit between the allocations of a block; its size where they do not.
uint64_t FindGap(const Registry& registry, uint32_t block, uint64_t bytes) {
  uint64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (const AllocationRecord& other : registry.allocations) {
      if (other.state == AllocationState::kFree || other.block != block) continue;
      if (offset < other.offset + other.bytes && other.offset < offset + bytes) {
        offset = other.offset + other.bytes;
        moved = true;
      }
    }
  }
  return offset + bytes <= registry.blocks[block].bytes ? offset : registry.blocks[block].bytes;
}

// The block of a small allocation: one that holds small ones of the same owner already, if there is room.
bool PlaceSmall(Registry& registry, AllocationRecord& allocation) {
  for (const AllocationRecord& other : registry.allocations) {
    if (other.state != AllocationState::kLive || other.owner != allocation.owner) continue;
    if (other.device != allocation.device || other.bytes >= kBlockBytes) continue;
    const uint64_t gap = FindGap(registry, other.block, allocation.bytes);
    if (gap == registry.blocks[other.block].bytes) continue;
    allocation.block = other.block;
    allocation.offset = gap;
    return true;
  }
  return false;
}

void PoisonFreed(const Registry& registry, const AllocationRecord& allocation) {
  const auto shadow = MapBlock(registry, allocation.block);
  if (shadow == nullptr) return;
  std::memset(shadow->data() + allocation.offset, kFakeCudaFreed, allocation.bytes);
}

// A block without live allocations has no name any more; without imports too, it is free.
void ReleaseBlockIfUnused(Registry& registry, uint32_t block) {
  bool live = false;
  bool used = false;
  for (const AllocationRecord& allocation : registry.allocations) {
    if (allocation.state == AllocationState::kFree || allocation.block != block) continue;
    used = true;
    live = live || allocation.state == AllocationState::kLive;
  }
  BlockRecord& record = registry.blocks[block];
  if (!live) RemoveObject(registry, block);
  if (!used) record.bytes = 0;
}

}  // namespace

Shadow::~Shadow() {
  ::munmap(data_, bytes_);
}

std::shared_ptr<Shadow> MapBlock(const Registry& registry, uint32_t block) {
  const int fd = ::open(ObjectPath(registry, block).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  const size_t bytes = registry.blocks[block].bytes;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (data == MAP_FAILED) return nullptr;
  return std::make_shared<Shadow>(static_cast<std::byte*>(data), bytes);
}

uint32_t MakeAllocation(Registry& registry, uint32_t owner, uint32_t device, uint64_t bytes) {
  for (uint32_t slot = 0; slot < kMaxAllocations; ++slot) {
    if (registry.allocations[slot].state != AllocationState::kFree) continue;
    AllocationRecord allocation{};
    allocation.owner = owner;
    allocation.device = device;
    allocation.generation = ++registry.next_generation;
    allocation.nonce = (uint64_t{std::random_device()()} << 32) | std::random_device()();
    allocation.bytes = RoundUp(bytes, kAllocationAlignment);
    if (allocation.bytes >= kBlockBytes || !PlaceSmall(registry, allocation)) {
      allocation.block = MakeBlock(registry, device, RoundUp(allocation.bytes, kBlockBytes));
      if (allocation.block == kNobody) return kNobody;
    }
    registry.allocations[slot] = allocation;
    registry.allocations[slot].state = AllocationState::kLive;
    return slot;
  }
  return kNobody;
}

void EndAllocation(Registry& registry, uint32_t slot, AllocationState left) {
  AllocationRecord& allocation = registry.allocations[slot];
  if (Imported(allocation) && UndefinedHurts()) PoisonFreed(registry, allocation);
  allocation.state = left;
  ReleaseIfUnused(registry, slot);
  // Also where its importers keep the block: it cannot be opened by name any more.
  ReleaseBlockIfUnused(registry, allocation.block);
}

void ReleaseIfUnused(Registry& registry, uint32_t slot) {
  AllocationRecord& allocation = registry.allocations[slot];
  if (allocation.state == AllocationState::kLive || Imported(allocation)) return;
  allocation.state = AllocationState::kFree;
  ReleaseBlockIfUnused(registry, allocation.block);
}

void ReleaseUnusedBlocks(Registry& registry) {
  for (uint32_t block = 0; block < kMaxBlocks; ++block) {
    if (registry.blocks[block].bytes != 0) ReleaseBlockIfUnused(registry, block);
  }
}

void RemoveObjects(Registry& registry) {
  for (uint32_t block = 0; block < kMaxBlocks; ++block) RemoveObject(registry, block);
}

bool Imported(const AllocationRecord& allocation) {
  return std::any_of(std::begin(allocation.imports), std::end(allocation.imports),
                     [](uint16_t count) { return count != 0; });
}

uint64_t UsedBytes(const Registry& registry, uint32_t device) {
  uint64_t used = 0;
  for (const BlockRecord& block : registry.blocks) {
    if (block.device == device) used += block.bytes;
  }
  return used;
}

}  // namespace zerohop::fake_cuda

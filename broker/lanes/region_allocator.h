#pragma once

// RegionAllocator: which bytes of an arena are taken. A buddy allocator:
// sizes are powers of two times kSmallest, so freed neighbours join again and
// neither side of the work depends on how many regions are live. The block freed
// last is kept aside and joins only when the next of that size does not want it:
// one request at a time would else split the whole arena, and join it again.
//
// The books are the broker's own memory; nothing of them lies in the arena.
// Not thread-safe: the dispatch lock guards it.

#include <cstdint>
#include <optional>
#include <vector>

namespace zerohop {

class RegionAllocator {
 public:
  static constexpr uint64_t kSmallest = 512;  // bytes; keeps every region aligned to lines

  // `arena_bytes`: a power of two, at least kSmallest.
  explicit RegionAllocator(uint64_t arena_bytes);

  // The offset of a region of at least `bytes`, or nothing where no room is.
  std::optional<uint64_t> Allocate(uint64_t bytes);
  // `offset` as Allocate gave it.
  void Free(uint64_t offset);

  uint64_t capacity() const { return capacity_; }
  uint64_t free_bytes() const { return free_bytes_; }

 private:
  // Blocks are numbered by their offset in units of kSmallest.
  using Block = uint32_t;
  static constexpr Block kNone = ~0u;
  enum : uint8_t { kInside = 0xff, kFreeBit = 0x80 };

  std::optional<Block> TakeKept(uint8_t wanted);
  void Join(Block block);
  void PushFree(Block block, uint8_t order);
  void RemoveFree(Block block, uint8_t order);

  const uint64_t capacity_;
  uint64_t free_bytes_;
  uint8_t top_;                         // order of the whole arena
  std::vector<uint8_t> state_;          // per block: order | kFreeBit, or kInside a larger one
  std::vector<Block> next_, previous_;  // free lists, one per order
  std::vector<Block> first_free_;
  Block kept_ = kNone;  // free, though its state says taken, so no neighbour joins it
};

}  // namespace zerohop

#include "broker/lanes/region_allocator.h"

#include <bit>
#include <cassert>
#include <utility>

namespace zerohop {

RegionAllocator::RegionAllocator(uint64_t arena_bytes)
    : capacity_(arena_bytes), free_bytes_(arena_bytes), top_(std::countr_zero(arena_bytes / kSmallest)) {
  const size_t blocks = arena_bytes / kSmallest;
  state_.assign(blocks, kInside);
  next_.assign(blocks, kNone);
  previous_.assign(blocks, kNone);
  first_free_.assign(top_ + 1u, kNone);
  PushFree(0, top_);
}

std::optional<uint64_t> RegionAllocator::Allocate(uint64_t bytes) {
  if (bytes > capacity_) return std::nullopt;
  const uint64_t units = (bytes + kSmallest - 1) / kSmallest;
  const auto wanted = static_cast<uint8_t>(units <= 1 ? 0 : std::bit_width(units - 1));
  if (const auto kept = TakeKept(wanted)) {
    free_bytes_ -= kSmallest << wanted;
    return uint64_t{*kept} * kSmallest;
  }
  uint8_t order = wanted;
  while (order <= top_ && first_free_[order] == kNone) ++order;
  if (order > top_) return std::nullopt;
  const Block block = first_free_[order];
  RemoveFree(block, order);
  while (order > wanted) {
    --order;
    PushFree(block + (Block{1} << order), order);  // the upper half stays free
  }
  state_[block] = wanted;
  free_bytes_ -= kSmallest << wanted;
  return uint64_t{block} * kSmallest;
}

void RegionAllocator::Free(uint64_t offset) {
  const Block block = static_cast<Block>(offset / kSmallest);
  assert(offset % kSmallest == 0 && state_[block] <= top_ && block != kept_);  // taken, and its first byte
  free_bytes_ += kSmallest << state_[block];
  if (kept_ != kNone) Join(kept_);
  kept_ = block;
}

// The block that was kept, where it is of the order that is wanted; else it joins the others.
std::optional<RegionAllocator::Block> RegionAllocator::TakeKept(uint8_t wanted) {
  if (kept_ == kNone) return std::nullopt;
  const Block block = std::exchange(kept_, kNone);
  if (state_[block] == wanted) return block;
  Join(block);
  return std::nullopt;
}

void RegionAllocator::Join(Block block) {
  uint8_t order = state_[block];
  while (order < top_) {
    const Block buddy = block ^ (Block{1} << order);
    if (state_[buddy] != (order | kFreeBit)) break;
    RemoveFree(buddy, order);
    state_[block | buddy] = kInside;
    block &= ~(Block{1} << order);
    ++order;
  }
  PushFree(block, order);
}

void RegionAllocator::PushFree(Block block, uint8_t order) {
  state_[block] = order | kFreeBit;
  previous_[block] = kNone;
  next_[block] = first_free_[order];
  if (next_[block] != kNone) previous_[next_[block]] = block;
  first_free_[order] = block;
}

void RegionAllocator::RemoveFree(Block block, uint8_t order) {
  if (previous_[block] != kNone) next_[previous_[block]] = next_[block];
  if (next_[block] != kNone) previous_[next_[block]] = previous_[block];
  if (first_free_[order] == block) first_free_[order] = next_[block];
  state_[block] = kInside;
}

}  // namespace zerohop

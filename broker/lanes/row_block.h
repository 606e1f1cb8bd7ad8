#pragma once

// RowBlock: the rows of one finished shard, side by side (shm/row.h).
// They lie in the lane's response arena, where the engine wrote them, or where
// they landed from a device, and stay there until the RowBlock goes; or on the heap, where the lane had to
// give the room to others. Move-only; may be destroyed on any thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "broker/lanes/lane_memory.h"

namespace zerohop {

class RowBlock {
 public:
  RowBlock() = default;
  // Rows in a region of `memory`; the region is released when this goes.
  RowBlock(std::shared_ptr<LaneMemory> memory, uint64_t offset, size_t bytes)
      : memory_(std::move(memory)), offset_(offset), bytes_(memory_->lane().rows(offset), bytes) {}
  // Rows copied out.
  RowBlock(std::unique_ptr<std::byte[]> heap, size_t bytes)
      : heap_(std::move(heap)), bytes_(heap_.get(), bytes) {}
  RowBlock(RowBlock&& other) noexcept { Swap(other); }
  RowBlock& operator=(RowBlock&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~RowBlock() {
    if (memory_) memory_->ReleaseResponse(offset_);
  }

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void Swap(RowBlock& other) {
    std::swap(memory_, other.memory_);
    std::swap(offset_, other.offset_);
    std::swap(heap_, other.heap_);
    std::swap(bytes_, other.bytes_);
  }

  std::shared_ptr<LaneMemory> memory_;
  uint64_t offset_ = 0;
  std::unique_ptr<std::byte[]> heap_;
  std::span<const std::byte> bytes_;
};

}  // namespace zerohop

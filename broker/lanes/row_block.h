#pragma once

// RowBlock: the rows of one finished shard, side by side (shm/row.h).
// They lie in the lane's response arena, where the engine wrote them, or where
// they landed from a device, and stay there until the RowBlock goes; or on the heap, where the lane had to
// give the room to others; or still on the device, for those who take them from there.
// Move-only; may be destroyed on any thread.

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/container/inlined_vector.h"
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
  // Rows that are on the device of `memory`; the same.
  static RowBlock OnDevice(std::shared_ptr<LaneMemory> memory, uint64_t offset, size_t bytes) {
    RowBlock block;
    block.device_address_ = memory->lane().device()->on_device(offset);
    block.memory_ = std::move(memory);
    block.offset_ = offset;
    block.bytes_ = {static_cast<const std::byte*>(nullptr), bytes};
    return block;
  }
  RowBlock(RowBlock&& other) noexcept { Swap(other); }
  RowBlock& operator=(RowBlock&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~RowBlock() {
    if (memory_) memory_->ReleaseResponse(offset_);
  }

  size_t size() const { return bytes_.size(); }
  std::span<const std::byte> bytes() const {
    assert(!on_device());
    return bytes_;
  }
  bool on_device() const { return device_address_ != 0; }
  cuda::CUdeviceptr device_address() const { return device_address_; }

 private:
  void Swap(RowBlock& other) {
    std::swap(memory_, other.memory_);
    std::swap(offset_, other.offset_);
    std::swap(heap_, other.heap_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_address_, other.device_address_);
  }

  std::shared_ptr<LaneMemory> memory_;
  uint64_t offset_ = 0;
  std::unique_ptr<std::byte[]> heap_;
  std::span<const std::byte> bytes_;
  cuda::CUdeviceptr device_address_ = 0;
};

// By shard; most requests are one.
using RowBlocks = absl::InlinedVector<RowBlock, 1>;

}  // namespace zerohop

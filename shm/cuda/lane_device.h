#pragma once

// LaneDevice: the broker's end of a lane's device part: the arena that the
// replica's rows are born in, and the pages of the host where they land. One
// offset names a region in both, and in the lane's response arena.

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "shm/cuda/device_arena.h"
#include "shm/segment.h"

namespace zerohop {

class LaneDevice {
 public:
  // `bytes` of each. ResourceExhausted where the device or the host has no room.
  static absl::StatusOr<LaneDevice> Create(const std::shared_ptr<const CudaDevice>& device, size_t bytes);

  const ArenaHandle& handle() const { return arena_.handle(); }
  cuda::CUdeviceptr on_device(uint64_t offset) const { return arena_.at(offset); }
  std::byte* on_host(uint64_t offset) const { return landing_.data() + offset; }

 private:
  LaneDevice(DeviceArena arena, Segment landing, RegisteredPages registered)
      : arena_(std::move(arena)), landing_(std::move(landing)), registered_(std::move(registered)) {}

  DeviceArena arena_;
  Segment landing_;
  RegisteredPages registered_;  // goes before what it registers
};

}  // namespace zerohop

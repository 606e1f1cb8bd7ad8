#include "shm/cuda/lane_device.h"

namespace zerohop {

absl::StatusOr<LaneDevice> LaneDevice::Create(const std::shared_ptr<const CudaDevice>& device, size_t bytes) {
  auto arena = DeviceArena::Export(device, bytes);
  if (!arena.ok()) return arena.status();
  auto landing = Segment::Create("zerohop-landing", bytes, Access::kReadWrite);
  if (!landing.ok()) return landing.status();
  auto registered = RegisteredPages::Register(device, landing->data(), bytes);
  if (!registered.ok()) return registered.status();
  return LaneDevice(*std::move(arena), *std::move(landing), *std::move(registered));
}

}  // namespace zerohop

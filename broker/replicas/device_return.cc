#include "broker/replicas/device_return.h"

#include <spdlog/spdlog.h>

namespace zerohop {

absl::StatusOr<std::unique_ptr<const LaneDevice>> DeviceReturn::MakeLaneDevice(size_t bytes) const {
  if (lost()) return absl::UnavailableError(reason_);
  auto made = LaneDevice::Create(device_, bytes);
  if (!made.ok()) return made.status();
  return std::make_unique<const LaneDevice>(*std::move(made));
}

void DeviceReturn::Lose(std::string reason) {
  std::lock_guard lock(losing_);
  if (lost()) return;
  spdlog::error("device {} is lost: {}; rows return by the host from now on", device_->uuid(), reason);
  reason_ = std::move(reason);
  device_->Abandon();
  // EDGE(lost) release: whoever sees the flag may read the reason.
  lost_.store(true, std::memory_order_release);
}

}  // namespace zerohop

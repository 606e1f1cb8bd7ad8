#pragma once

// DeviceReturn: whether rows may come back by CUDA IPC: the device that the
// broker holds, until it is lost. Lost once, it stays so: an error of a context
// is one of all its memory, and lanes that are made from then on have no device.
// Any thread.

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "shm/cuda/lane_device.h"

namespace zerohop {

class DeviceReturn {
 public:
  // `required`: the first generations of replicas have to use it.
  DeviceReturn(std::shared_ptr<const CudaDevice> device, bool required)
      : device_(std::move(device)), required_(required) {}

  const std::shared_ptr<const CudaDevice>& device() const { return device_; }
  bool required() const { return required_; }
  // The device's part of a lane with so large a response arena. Unavailable once the device is lost.
  absl::StatusOr<std::unique_ptr<const LaneDevice>> MakeLaneDevice(size_t bytes) const;

  // The first reason is the reason.
  void Lose(std::string reason);
  bool lost() const {
    return lost_.load(std::memory_order_acquire);  // EDGE(lost) acquire: the reason is complete
  }
  // Once lost.
  const std::string& reason() const { return reason_; }

 private:
  const std::shared_ptr<const CudaDevice> device_;
  const bool required_;
  std::mutex losing_;
  std::string reason_;  // written once, before lost_
  std::atomic<bool> lost_{false};
};

}  // namespace zerohop

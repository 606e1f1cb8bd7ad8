#pragma once

// DeviceReturn: whether rows may come back by CUDA IPC: the device that the
// broker holds, until it is lost. Lost once, it stays so: an error of a context
// is one of all its memory, and lanes that are made from then on have no device.
//
// A driver may take its time, or never return. So what is made and freed on the
// device is made and freed on a thread of its own: who drops the last reference
// to its memory, under whatever lock, waits for nobody. Any thread.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "shm/cuda/lane_device.h"

namespace zerohop {

class DeviceReturn {
 public:
  // `deadline`: what one thing may take that is asked of the device.
  DeviceReturn(std::shared_ptr<const CudaDevice> device, std::chrono::nanoseconds deadline);
  // A device that has not given all back within the deadline is left to the end of the process.
  ~DeviceReturn();

  const std::shared_ptr<const CudaDevice>& device() const { return device_; }
  std::chrono::nanoseconds deadline() const { return deadline_; }
  // The device's part of a lane with so large a response arena. Unavailable once the device is lost, as it is
  // when this takes longer than the deadline.
  absl::StatusOr<std::shared_ptr<const LaneDevice>> MakeLaneDevice(size_t bytes);
  // An arena for a consumer; the same.
  absl::StatusOr<std::shared_ptr<const DeviceArena>> MakeArena(size_t bytes);

  // The first reason is the reason.
  void Lose(std::string reason);
  bool lost() const {
    return lost_.load(std::memory_order_acquire);  // EDGE(lost) acquire: the reason is complete
  }
  // Once lost.
  const std::string& reason() const { return reason_; }
  // A process that has its memory open cannot be ended: nothing may be freed any more.
  void LeaveToTheEnd() const { device_->Abandon(); }

 private:
  // What the thread is to do; shared with it, because it may never return.
  struct Work {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> waiting;
    bool busy = false;
    bool stop = false;
  };
  static void Run(const std::shared_ptr<Work>& work);
  template <typename Thing>
  using Shared = absl::StatusOr<std::shared_ptr<const Thing>>;
  template <typename Thing>
  static Shared<Thing> ForAnyThread(absl::StatusOr<Thing> thing, const std::shared_ptr<Work>& work);
  template <typename Thing>
  Shared<Thing> Make(std::function<absl::StatusOr<Thing>()> make);
  static void Give(const std::shared_ptr<Work>& work, std::function<void()> task);

  const std::shared_ptr<const CudaDevice> device_;
  const std::chrono::nanoseconds deadline_;
  std::mutex losing_;
  std::string reason_;  // written once, before lost_
  std::atomic<bool> lost_{false};
  const std::shared_ptr<Work> work_;
  std::thread thread_;
};

}  // namespace zerohop

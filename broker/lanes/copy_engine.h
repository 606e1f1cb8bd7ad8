#pragma once

// CopyEngine: brings the rows of finished submissions from the device to the
// pages of the host where they land, on a thread and a stream of its own. What
// comes while one batch of copies runs is the next batch; regions without a gap
// between them are copied at once.
//
// Begin on any thread, under any lock: it does not wait for the device. A copy
// that ends is told to its lane (LaneMemory::TakeLanded), and the bell is rung.
// A device that fails, or does not finish within the deadline, is lost
// (DeviceReturn::Lose); the rows of its copies are then never told as landed.

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "broker/lanes/lane_memory.h"
#include "broker/replicas/device_return.h"

namespace zerohop {

class CopyEngine {
 public:
  // A region of a lane with a device. The lane stays mapped until the copy has ended.
  struct Copy {
    std::shared_ptr<LaneMemory> memory;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint32_t slot = 0;
  };

  // `home`, whose deadline is what a batch may take, and what `bell` rings outlive it.
  static absl::StatusOr<std::unique_ptr<CopyEngine>> Create(DeviceReturn& home, BellRinger bell);
  // Waits a moment for copies that run; a device that does not end them is left to the end of the process.
  ~CopyEngine();

  void Begin(Copy copy);
  const DeviceReturn& home() const { return home_; }

 private:
  using Clock = std::chrono::steady_clock;

  CopyEngine(DeviceReturn& home, BellRinger bell, CudaStream stream);

  void Run();
  bool TakeBatch();
  absl::Status CopyBatch();
  absl::Status Submit(const Copy& first, uint64_t bytes);
  absl::Status WaitForStream();
  bool Stopped();
  void OnLost(std::string reason);

  DeviceReturn& home_;
  const BellRinger bell_;
  CudaStream stream_;
  std::vector<Copy> batch_;                              // of the thread
  std::vector<std::shared_ptr<const LaneDevice>> kept_;  // a lost device may still write to them
  std::mutex mutex_;                                     // the members below
  std::condition_variable begun_;
  std::vector<Copy> waiting_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace zerohop

#pragma once

// CopyEngine: moves finished rows away from where they were born, on a thread
// and a stream of its own. What comes while one batch of copies runs is the next.
//
//   Land     from the device to the pages of the host where they land; regions
//            without a gap between them are copied at once. Told to the lane
//            (LaneMemory::TakeLanded), and the bell is rung.
//   Gather   a consumer's rows into its arena on the device, from wherever they lie.
//
// Both on any thread, under any lock: they do not wait for the device. A device
// that fails, or does not finish within the deadline, is lost
// (DeviceReturn::Lose); what was on its way then is never told as done, and of
// that a batch stays that was submitted, even in part: the device may still read
// and write there. What was not asked for is given back.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "broker/lanes/lane_memory.h"
#include "broker/lanes/row_block.h"
#include "broker/replicas/device_return.h"

namespace zerohop {

class CopyEngine {
 public:
  using Clock = std::chrono::steady_clock;

  // A region of a lane with a device. The lane stays mapped until the copy has ended.
  struct Landing {
    std::shared_ptr<LaneMemory> memory;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint32_t slot = 0;
  };
  // The blocks side by side, from `offset` in the arena on. `done`: on the copy engine's thread, once; never
  // where the device is lost before, and then it goes on any thread, perhaps under a lock.
  struct Gathering {
    RowBlocks rows;
    std::shared_ptr<const DeviceArena> to;
    uint64_t offset = 0;
    std::function<void()> done;
  };

  // `home`, whose deadline is what a batch may take, and what `bell` rings outlive it.
  static absl::StatusOr<std::unique_ptr<CopyEngine>> Create(DeviceReturn& home, BellRinger bell);
  // Waits a moment for copies that run; a device that does not end them, or does not even return from being
  // asked, is left to the end of the process.
  ~CopyEngine();

  void Land(Landing landing);
  void Gather(Gathering gathering);
  // Loses a device whose driver does not return from what the copy engine's thread asks of it, and gives back
  // what waits for a device that is lost. From time to time, on another thread.
  void Judge(Clock::time_point now);
  const DeviceReturn& home() const { return home_; }

 private:
  class Thread;

  CopyEngine(DeviceReturn& home, BellRinger bell, CudaStream stream);

  DeviceReturn& home_;
  const std::shared_ptr<Thread> thread_;  // shared with the thread itself, which may never return
  std::thread running_;
};

}  // namespace zerohop

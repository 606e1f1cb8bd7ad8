#pragma once

// LaneMemory: keeps a lane mapped while answers still refer to its rows, or a
// device still brings them; collects the regions that senders have finished
// with, and the slots whose rows have landed.
// Shared between the LanePort and every RowBlock; a lane whose replica died
// lives on here until its last answer has been sent.

#include <concurrentqueue/concurrentqueue.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "shm/lane.h"

namespace zerohop {

class LaneMemory {
 public:
  LaneMemory(std::shared_ptr<BrokerLane> lane, BellRinger broker_bell)
      : lane_(std::move(lane)), broker_bell_(broker_bell) {}

  BrokerLane& lane() { return *lane_; }

  // Any thread, under no lock of ours: the region's bytes are read no more.
  void ReleaseResponse(uint64_t offset) {
    released_.enqueue(offset);
    // EDGE(starved) seq_cst: either we see that work waits for room, or the dispatcher sees our release.
    if (starved_.load(std::memory_order_seq_cst)) broker_bell_.Ring();
  }
  // The dispatcher takes released regions back before it looks for room.
  bool TakeReleased(uint64_t* offset) { return released_.try_dequeue(*offset); }
  // The rows of this in-flight slot have come from the device. The copy engine's thread; it rings.
  void PutLanded(uint32_t slot) { landed_.enqueue(slot); }
  bool TakeLanded(uint32_t* slot) { return landed_.try_dequeue(*slot); }
  void SetStarved(bool starved) {
    if (starved_.load(std::memory_order_relaxed) == starved) return;  // only the dispatcher writes it
    // EDGE(starved) seq_cst: the dispatcher looks for releases once more after this.
    starved_.store(starved, std::memory_order_seq_cst);
  }

 private:
  std::shared_ptr<BrokerLane> lane_;
  BellRinger broker_bell_;
  moodycamel::ConcurrentQueue<uint64_t> released_;
  moodycamel::ConcurrentQueue<uint32_t> landed_;
  std::atomic<bool> starved_{false};
};

}  // namespace zerohop

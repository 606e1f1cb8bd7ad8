#pragma once

// Lifeline: the replica's side thread. Beats, holds the lane's lifeline word,
// and listens to the control socket: Drain asks the worker to stop; end of file
// means that the broker is gone, and from then on nothing of the lane is
// written any more: the process ends, or the lane is fenced.
// Started before the engine loads, so that a long load is seen to live.

#include <atomic>
#include <chrono>
#include <thread>

#include "replica_shim/orders.h"
#include "shm/control_channel.h"
#include "shm/lane.h"

namespace zerohop {

enum class WhenAlone {
  kExit,   // spawned by the broker: end with it, at once
  kFence,  // attached to it: keep the process and its engine for the next broker
};

class Lifeline {
 public:
  Lifeline(ControlChannel& control, ReplicaLane& lane, std::chrono::nanoseconds beat, WhenAlone when_alone);
  ~Lifeline();

  Orders orders() const {
    // EDGE(orders) relaxed: a flag alone; the worker finds the rest in its ring.
    return orders_.load(std::memory_order_relaxed);
  }
  // Nothing that this process writes reaches the lane any more.
  bool IsFenced() const {
    // EDGE(orders) acquire: the lane is private.
    return fenced_.load(std::memory_order_acquire);
  }

 private:
  void Run();
  void Listen();
  void LoseBroker();

  ControlChannel& control_;
  ReplicaLane& lane_;
  const std::chrono::milliseconds beat_;
  const WhenAlone when_alone_;
  std::atomic<Orders> orders_{Orders::kServe};
  std::atomic<bool> fenced_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zerohop

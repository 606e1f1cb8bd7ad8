#pragma once

// Lifeline: the replica's side thread. Beats, and listens to the control
// socket: Drain asks the worker to stop; end of file means the broker is gone,
// and then the process exits at once and never writes to the lane again.
// Started before the engine loads, so that a long load is seen to live.

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "shm/control_channel.h"
#include "shm/heartbeat.h"

namespace zerohop {

class Lifeline {
 public:
  Lifeline(ControlChannel& control, HeartbeatWriter heartbeat, std::chrono::nanoseconds beat);
  ~Lifeline();

  bool DrainRequested() const {
    // EDGE(drain) relaxed: a flag alone; the worker finds the rest in its ring.
    return drain_.load(std::memory_order_relaxed);
  }

 private:
  void Run();
  void Listen();

  ControlChannel& control_;
  HeartbeatWriter heartbeat_;
  const std::chrono::milliseconds beat_;
  std::atomic<bool> drain_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zerohop

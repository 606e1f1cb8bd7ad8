#pragma once

// LaneThread: the broker's one thread that sleeps on the bell and, when it
// rings, has finished work taken off the lanes. It also carries the clock to
// work that waits for a time.

#include <atomic>
#include <chrono>
#include <thread>

#include "shm/lane.h"

namespace zerohop {

// What the lane thread serves.
class Reaper {
 public:
  virtual ~Reaper() = default;
  // The bell rang, or some time has passed: takes off what is finished on any lane, and expires what is past
  // its time.
  virtual void OnBell(std::chrono::steady_clock::time_point now) = 0;
};

class LaneThread {
 public:
  LaneThread(Reaper& reaper, const BrokerBell& bell, std::chrono::nanoseconds spin_limit);
  ~LaneThread();

 private:
  void Run();

  Reaper& reaper_;
  BellSleeper sleeper_;
  BellRinger own_bell_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zerohop

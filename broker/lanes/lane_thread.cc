#include "broker/lanes/lane_thread.h"

namespace zerohop {
namespace {

// Also how late an expiry may be noticed, and a ring that a liar suppressed.
constexpr std::chrono::milliseconds kLongestSleep(100);

}  // namespace

LaneThread::LaneThread(Reaper& reaper, const BrokerBell& bell, std::chrono::nanoseconds spin_limit)
    : reaper_(reaper),
      sleeper_(bell.MakeSleeper(spin_limit)),
      own_bell_(bell.ringer()),
      thread_([this] { Run(); }) {}

LaneThread::~LaneThread() {
  // EDGE(stop) relaxed: a flag alone; join orders everything else.
  stop_.store(true, std::memory_order_relaxed);
  own_bell_.Ring();
  thread_.join();
}

void LaneThread::Run() {
  // EDGE(stop) relaxed: see the destructor.
  while (!stop_.load(std::memory_order_relaxed)) {
    sleeper_.Wait(kLongestSleep);
    reaper_.OnBell(std::chrono::steady_clock::now());
  }
}

}  // namespace zerohop

#include "replica_shim/lifeline.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "replica_shim/crash_point.h"
#include "shm/lifeline_word.h"

namespace zerohop {

Lifeline::Lifeline(ControlChannel& control, ReplicaLane& lane, std::chrono::nanoseconds beat,
                   WhenAlone when_alone)
    : control_(control),
      lane_(lane),
      beat_(std::max(std::chrono::milliseconds(1),
                     std::chrono::duration_cast<std::chrono::milliseconds>(beat))),
      when_alone_(when_alone),
      thread_([this] { Run(); }) {}

Lifeline::~Lifeline() {
  // EDGE(orders) relaxed: a flag alone; join orders everything else.
  stop_.store(true, std::memory_order_relaxed);
  thread_.join();
}

void Lifeline::Run() {
  const LifelineHolder holder(lane_.lifeline_word());
  HeartbeatWriter heartbeat = lane_.heartbeat();
  // EDGE(orders) relaxed: see the destructor.
  while (!stop_.load(std::memory_order_relaxed) && orders() != Orders::kLeave) {
    heartbeat.Beat();
    CrashPoint("beat");
    pollfd socket{control_.fd(), POLLIN, 0};
    if (::poll(&socket, 1, static_cast<int>(beat_.count())) > 0) Listen();
  }
}

void Lifeline::Listen() {
  auto packet = control_.Receive(/*block=*/false);
  if (absl::IsUnavailable(packet.status())) return LoseBroker();
  if (packet.ok() && std::holds_alternative<Drain>(packet->message)) {
    CrashPoint("heard_drain");
    // EDGE(orders) relaxed: a flag alone.
    orders_.store(Orders::kDrain, std::memory_order_relaxed);
  }
}

// Self-fencing: from here on nothing of this process reaches the lane.
void Lifeline::LoseBroker() {
  CrashPoint("lost_broker");
  if (when_alone_ == WhenAlone::kExit) ::_exit(0);  // and no destructor may touch it either
  // EDGE(orders) relaxed: a flag alone. Before the fence, behind which rings look as if they were new:
  // whatever the worker meets there, it has been told to leave.
  orders_.store(Orders::kLeave, std::memory_order_relaxed);
  lane_.Fence();
  // EDGE(orders) release: who waits for this finds the lane fenced.
  fenced_.store(true, std::memory_order_release);
  CrashPoint("fenced");
}

}  // namespace zerohop

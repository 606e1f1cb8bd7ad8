#include "replica_shim/lifeline.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

namespace zerohop {

Lifeline::Lifeline(ControlChannel& control, HeartbeatWriter heartbeat, std::chrono::nanoseconds beat)
    : control_(control),
      heartbeat_(heartbeat),
      beat_(std::max(std::chrono::milliseconds(1),
                     std::chrono::duration_cast<std::chrono::milliseconds>(beat))),
      thread_([this] { Run(); }) {}

Lifeline::~Lifeline() {
  // EDGE(drain) relaxed: a flag alone; join orders everything else.
  stop_.store(true, std::memory_order_relaxed);
  thread_.join();
}

void Lifeline::Run() {
  // EDGE(drain) relaxed: see the destructor.
  while (!stop_.load(std::memory_order_relaxed)) {
    heartbeat_.Beat();
    pollfd socket{control_.fd(), POLLIN, 0};
    if (::poll(&socket, 1, static_cast<int>(beat_.count())) > 0) Listen();
  }
}

void Lifeline::Listen() {
  auto packet = control_.Receive(/*block=*/false);
  if (absl::IsUnavailable(packet.status())) {
    // Self-fencing: no destructor may touch the lane, which may have new users.
    ::_exit(0);
  }
  if (packet.ok() && std::holds_alternative<Drain>(packet->message)) {
    // EDGE(drain) relaxed: a flag alone.
    drain_.store(true, std::memory_order_relaxed);
  }
}

}  // namespace zerohop

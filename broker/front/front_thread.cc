#include "broker/front/front_thread.h"

#include <chrono>

#include "broker/front/completion_event.h"

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;

// Replicas do not wait longer for their wake, nor finished work for its answer, than one turn, an event, and
// two looks.
constexpr int kEventsPerTurn = 32;
constexpr std::chrono::microseconds kLongestTurn(100);
// A look of gRPC's deals with one connection, and may bring us nothing while others have something.
constexpr int kLooksInVain = 2;

}  // namespace

void FrontThread::Run() {
  void* event;
  bool ok;
  while (ProceedWithReady()) {
    if (attendance_.AwaitAnswer()) continue;
    if (!Next(&event, &ok)) break;
    Proceed(event, ok);
  }
  attendance_.End();
}

// False when the queue is shut down.
bool FrontThread::ProceedWithReady() {
  void* event;
  bool ok;
  int events = 0;
  int in_vain = 0;
  for (auto began = Clock::now();;) {
    switch (queue_.AsyncNext(&event, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::TIMEOUT:
        if (++in_vain == kLooksInVain) return true;
        continue;
      case grpc::CompletionQueue::GOT_EVENT:
        break;
    }
    in_vain = 0;
    Proceed(event, ok);
    const auto now = Clock::now();
    if (++events < kEventsPerTurn && now - began < kLongestTurn) continue;
    attendance_.Look();
    events = 0;
    began = now;
  }
}

// The next event, which is looked for awake where the last ones came soon: another CPU that has to wake this
// one first brings it later, and pays for that. False when the queue is shut down.
bool FrontThread::Next(void** event, bool* ok) {
  const auto began = Clock::now();
  const auto look = attendance_.MayLookAwake() ? look_budget_.budget() : std::chrono::nanoseconds(0);
  auto next = grpc::CompletionQueue::TIMEOUT;
  while (next == grpc::CompletionQueue::TIMEOUT && Clock::now() - began < look) {
    next = queue_.AsyncNext(event, ok, gpr_inf_past(GPR_CLOCK_MONOTONIC));
  }
  if (next == grpc::CompletionQueue::TIMEOUT) {
    next = queue_.AsyncNext(event, ok, gpr_inf_future(GPR_CLOCK_MONOTONIC));
  }
  look_budget_.Record(Clock::now() - began);
  return next == grpc::CompletionQueue::GOT_EVENT;
}

void FrontThread::Proceed(void* event, bool ok) {
  attendance_.Begin();
  static_cast<CompletionEvent*>(event)->Proceed(ok);
}

}  // namespace zerohop

#include "broker/front/front_thread.h"

#include "broker/front/completion_event.h"

namespace zerohop {
namespace {

// Replicas do not wait longer for their wake, nor finished work for its answer.
constexpr int kEventsPerTurn = 32;

}  // namespace

void FrontThread::Run() {
  void* event;
  bool ok;
  while (ProceedWithReady()) {
    router_.RingReplicas();
    if (attendance_.AwaitAnswer()) continue;
    if (!queue_.Next(&event, &ok)) return;
    attendance_.Begin();
    static_cast<CompletionEvent*>(event)->Proceed(ok);
  }
}

// False when the queue is shut down.
bool FrontThread::ProceedWithReady() {
  void* event;
  bool ok;
  for (int left = kEventsPerTurn;; --left) {
    switch (queue_.AsyncNext(&event, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::TIMEOUT:
        return true;
      case grpc::CompletionQueue::GOT_EVENT:
        break;
    }
    attendance_.Begin();
    static_cast<CompletionEvent*>(event)->Proceed(ok);
    if (left > 0) continue;
    router_.RingReplicas();
    attendance_.Look();
    left = kEventsPerTurn;
  }
}

}  // namespace zerohop

#pragma once

// FrontThread: one completion queue and the thread that serves it. In turns:
// what gRPC has ready is submitted, the replicas are rung once for all of it, and
// answers that come soon are waited for, and requests that come soon looked for,
// before the thread sleeps in gRPC.
// No other thread may poll gRPC: each would take events that belong here,
// and hand them over with two wakes.

#include <grpcpp/completion_queue.h>

#include <chrono>
#include <thread>

#include "broker/router/attendance.h"
#include "shm/spin.h"

namespace zerohop {

class FrontThread {
 public:
  // `look_awake`: most that it looks for the next event before it sleeps, where they have come that soon.
  FrontThread(grpc::ServerCompletionQueue& queue, const Attendance& attendance,
              std::chrono::nanoseconds look_awake)
      : queue_(queue), attendance_(attendance), look_budget_(look_awake), thread_([this] { Run(); }) {}
  // Once the queue is shut down.
  ~FrontThread() { thread_.join(); }
  // For whoever says where it shall run.
  std::thread::native_handle_type handle() { return thread_.native_handle(); }

 private:
  void Run();
  bool ProceedWithReady();
  bool Next(void** event, bool* ok);
  void Proceed(void* event, bool ok);

  grpc::ServerCompletionQueue& queue_;
  Attendance attendance_;
  SpinBudget look_budget_;
  std::thread thread_;
};

}  // namespace zerohop

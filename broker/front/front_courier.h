#pragma once

// FrontCourier: brings the answers that the lane thread finds ready to a front
// thread. Given by the lane thread they cost both: for each of them gRPC wakes
// the thread that polls it several times, and the two wait for each other's locks.
// And it binds the front thread to the CPU that it is told (Dispatcher::CpuForFront):
// the kernel would as soon let it interrupt a replica that computes, beside one
// that has just finished.
//
// Carry on the lane thread, Proceed on the front thread, Place on any front thread. There is one courier,
// to the first front thread, however many there are. Outlives the lane thread.

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>
#include <sched.h>

#include <mutex>
#include <thread>
#include <vector>

#include "broker/front/completion_event.h"
#include "broker/router/answer_courier.h"
#include "broker/router/router.h"

namespace zerohop {

class FrontCourier final : public AnswerCourier, public CompletionEvent {
 public:
  using Thread = std::thread::native_handle_type;

  explicit FrontCourier(Router& router) : router_(router) {}

  // From here on answers go to `thread`, which serves `queue`. Before and after that the caller of Carry
  // gives them.
  void Open(grpc::CompletionQueue* queue, Thread thread);
  // Before the queue is shut down; what is on its way still arrives.
  void Close();

  // An answer that is alone while the front thread may be anywhere is given at once, by the caller: a wake
  // less.
  void Carry(ReadyAnswers answers, int cpu) override;
  void Place(int cpu) override;
  // Gives what has arrived.
  void Proceed(bool ok) override;

 private:
  bool Send(ReadyAnswers* answers, int cpu);
  void PlaceLocked(int cpu);

  Router& router_;
  std::mutex door_;                         // up to alarm_
  grpc::CompletionQueue* queue_ = nullptr;  // null: closed
  Thread thread_{};
  cpu_set_t anywhere_{};  // where the thread may run when it is not placed
  int placed_ = kAnyCpu;  // its CPU
  grpc::Alarm alarm_;

  std::mutex way_;                        // apart: the front thread wakes before the alarm's Set is over
  std::vector<ReadyAnswers> on_the_way_;  // where there are some, the alarm is set for them

  std::vector<ReadyAnswers> arrived_;  // the front thread's
};

}  // namespace zerohop

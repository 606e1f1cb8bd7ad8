#include "broker/front/front_courier.h"

#include <pthread.h>

#include <utility>

namespace zerohop {

void FrontCourier::Open(grpc::CompletionQueue* queue, Thread thread) {
  std::lock_guard lock(mutex_);
  queue_ = queue;
  thread_ = thread;
  (void)::pthread_getaffinity_np(thread_, sizeof anywhere_, &anywhere_);
}

void FrontCourier::Close() {
  std::lock_guard lock(mutex_);
  queue_ = nullptr;
}

void FrontCourier::Carry(ReadyAnswers answers, int cpu) {
  {
    std::lock_guard lock(mutex_);
    if (queue_ != nullptr) {
      Place(cpu);
      if (cpu != kAnyCpu || answers.size() > 1) {
        on_the_way_.push_back(std::move(answers));
        // A time in the past: at once.
        if (on_the_way_.size() == 1) {
          alarm_.Set(queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), static_cast<CompletionEvent*>(this));
        }
        return;
      }
    }
  }
  answers.Give();
}

void FrontCourier::Proceed(bool /*ok*/) {
  std::vector<ReadyAnswers> arrived;
  {
    std::lock_guard lock(mutex_);
    std::swap(arrived, on_the_way_);
  }
  for (ReadyAnswers& answers : arrived) answers.Give();
}

// Where the kernel refuses, the thread stays where it may be: it is only slower.
void FrontCourier::Place(int cpu) {
  if (cpu == std::exchange(placed_, cpu)) return;
  cpu_set_t there = anywhere_;
  if (cpu != kAnyCpu) {
    CPU_ZERO(&there);
    CPU_SET(cpu, &there);
  }
  (void)::pthread_setaffinity_np(thread_, sizeof there, &there);
}

}  // namespace zerohop

#include "broker/front/front_courier.h"

#include <pthread.h>

#include <utility>

namespace zerohop {

void FrontCourier::Open(grpc::CompletionQueue* queue, Thread thread) {
  std::lock_guard lock(door_);
  queue_ = queue;
  thread_ = thread;
  (void)::pthread_getaffinity_np(thread_, sizeof anywhere_, &anywhere_);
}

void FrontCourier::Close() {
  std::lock_guard lock(door_);
  queue_ = nullptr;
}

void FrontCourier::Carry(ReadyAnswers answers, int cpu) {
  if (!Send(&answers, cpu)) answers.Give();
}

void FrontCourier::Place(int cpu) {
  std::lock_guard lock(door_);
  if (queue_ != nullptr) PlaceLocked(cpu);
}

// False where they are the caller's to give.
bool FrontCourier::Send(ReadyAnswers* answers, int cpu) {
  std::lock_guard lock(door_);
  if (queue_ == nullptr) return false;
  PlaceLocked(cpu);
  if (answers->size() == 0 || (answers->size() == 1 && placed_ == kAnyCpu)) return false;
  bool first = false;
  {
    std::lock_guard way(way_);
    first = on_the_way_.empty();
    on_the_way_.push_back(std::move(*answers));
  }
  // A time in the past: at once. What the alarm was set for before has been delivered where nothing is on the
  // way, so it may be set again.
  if (first) alarm_.Set(queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), static_cast<CompletionEvent*>(this));
  return true;
}

void FrontCourier::Proceed(bool /*ok*/) {
  {
    std::lock_guard way(way_);
    std::swap(arrived_, on_the_way_);
  }
  // To give many takes a while, for which replicas with new work would sleep.
  router_.RingReplicas();
  for (ReadyAnswers& answers : arrived_) answers.Give();
  arrived_.clear();
}

// Where the kernel refuses, the thread stays where it may be: it is only slower.
void FrontCourier::PlaceLocked(int cpu) {
  // An attached replica may be bound to a CPU that is not ours.
  if (cpu != kAnyCpu && !CPU_ISSET(cpu, &anywhere_)) cpu = kAnyCpu;
  if (cpu == std::exchange(placed_, cpu)) return;
  cpu_set_t there = anywhere_;
  if (cpu != kAnyCpu) {
    CPU_ZERO(&there);
    CPU_SET(cpu, &there);
  }
  (void)::pthread_setaffinity_np(thread_, sizeof there, &there);
}

}  // namespace zerohop

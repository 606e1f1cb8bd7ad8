#pragma once

// LiveCalls: counts calls that gRPC may still answer, so that completion
// queues are shut down only after the last.

#include <condition_variable>
#include <mutex>

namespace zerohop {

class LiveCalls {
 public:
  void Enter() {
    std::lock_guard lock(mutex_);
    ++count_;
  }
  void Leave() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0) none_.notify_all();
  }
  void WaitForNone() {
    std::unique_lock lock(mutex_);
    none_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  size_t count_ = 0;
};

}  // namespace zerohop

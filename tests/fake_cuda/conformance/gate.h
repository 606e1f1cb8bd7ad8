#pragma once

// Gate: holds a stream up by a host function that waits, on any driver.

#include <condition_variable>
#include <mutex>

namespace zerohop::conformance {

class Gate {
 public:
  void Close() { Set(false); }
  void Open() { Set(true); }

  // For cuLaunchHostFunc, with the gate as its argument.
  static void PassThrough(void* gate) { static_cast<Gate*>(gate)->Pass(); }

 private:
  void Pass() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [&] { return open_; });
  }
  void Set(bool open) {
    const std::lock_guard guard(lock_);
    open_ = open;
    changed_.notify_all();
  }

  std::mutex lock_;
  std::condition_variable changed_;
  bool open_ = true;
};

}  // namespace zerohop::conformance

#pragma once

// Patience: whether answers have come soon enough of late that a front thread
// should wait for them by itself. Pure but for its own average.

#include <chrono>
#include <cstdint>

namespace zerohop {

class Patience {
 public:
  // One wait. What gRPC receives meanwhile is late by no more.
  static constexpr std::chrono::microseconds kLongest{100};

  // Whether to attend from now on. Where waits were in vain, still now and then: engines change.
  bool IsWorthwhile() {
    if (!AnswersComeSoon() && ++declined_ % kTryEvery != 0) return false;
    waits_left_ = kTries;
    return true;
  }
  // Whether to wait once more.
  bool IsShort() const { return AnswersComeSoon() || waits_left_ > 0; }
  // As far as is known.
  bool AnswersComeSoon() const { return typical_ <= kLongest; }
  void Record(std::chrono::nanoseconds waited, bool rang) {
    typical_ += ((rang ? waited : kInVain) - typical_) / 4;
    if (waits_left_ > 0) --waits_left_;
  }

 private:
  static constexpr std::chrono::nanoseconds kInVain = 4 * kLongest;  // a wait whose end was not seen
  static constexpr uint32_t kTryEvery = 16;
  static constexpr uint32_t kTries = 2;

  std::chrono::nanoseconds typical_{0};  // moving average
  uint32_t declined_ = 0;
  uint32_t waits_left_ = 0;
};

}  // namespace zerohop

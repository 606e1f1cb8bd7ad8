#pragma once

// SpinTrial: whether spinning pays on this machine, now, found by trying.
//
// With a single request in the house, replica and front may wait awake for
// each other: that saves two wakes where cores are free, and costs a slice of
// the scheduler where they are not. Neither side can see which, so the turn of
// a lone client (arrival to next arrival) is averaged with and without, the
// better way is taken, and the other is tried again for a few requests now and then.
// Pure but for its own averages; one thread at a time.

#include <chrono>
#include <cstdint>

namespace zerohop {

class SpinTrial {
 public:
  using Clock = std::chrono::steady_clock;

  // A lone request arrived; whether to spin until the next one.
  bool OnLoneArrival(Clock::time_point now) {
    const auto turn = now - last_arrival_;
    last_arrival_ = now;
    // A longer turn is the client's own pause and says nothing of ours.
    if (turn < kLongestTurn) Record(spinning_ ? with_ : without_, turn);
    const bool better = with_ <= without_;
    const uint32_t step = count_++ % kPeriod;
    spinning_ = step < kTry ? !better : better;
    return spinning_;
  }
  // Several requests: the turn that began is no lone client's.
  void OnCompany() { last_arrival_ = Clock::time_point(); }

 private:
  static constexpr std::chrono::milliseconds kLongestTurn{5};
  static constexpr uint32_t kPeriod = 1024;  // requests
  static constexpr uint32_t kTry = 8;        // of them, the other way

  static void Record(Clock::duration& average, Clock::duration turn) { average += (turn - average) / 4; }

  Clock::time_point last_arrival_;
  Clock::duration with_{};  // zero: both ways look perfect until they were tried
  Clock::duration without_{};
  uint32_t count_ = 0;
  bool spinning_ = false;
};

}  // namespace zerohop

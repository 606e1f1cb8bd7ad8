#pragma once

// SpinTrial: whether spinning pays on this machine, now, found by trying.
//
// With a single request in the house, replica and front may wait awake for
// each other: that saves two wakes where cores are free, and costs a slice of
// the scheduler where they are not. Neither side can see which, so the turn of
// a lone client (arrival to next arrival) is averaged with and without, the
// better way is taken, and the other is tried again for a few requests now and then.
// Pure but for its own averages; one thread at a time.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace zerohop {

class SpinTrial {
 public:
  using Clock = std::chrono::steady_clock;

  // A lone request arrived; whether to spin until the next one.
  bool OnLoneArrival(Clock::time_point now) {
    const auto turn = now - std::exchange(last_arrival_, now);
    const bool lone_client = HasLoneClient();
    if (!lone_client) ++alone_;
    // A longer turn is the client's own pause.
    if (!lone_client || turn > kLongestTurn) {
      if (spinning_) turns_this_way_ = 0;
      return spinning_ = false;
    }
    // The scheduler takes a while to find the threads their places.
    if (++turns_this_way_ > kSettling) Record(spinning_ ? with_ : without_, turn);
    // Tries are short, and a spinner that has settled does better than in its first turns.
    const bool better = with_ <= without_ + without_ / 2;
    const bool spin = count_++ % kPeriod < kTry ? !better : better;
    if (spin != spinning_) turns_this_way_ = 0;
    return spinning_ = spin;
  }
  // Several requests at once: the clients are several for a while, though each of their requests may come
  // while no other is in the house. A replica that spins between these keeps the thread waiting that brings
  // them.
  void OnCompany() { alone_ = 0; }
  // Whether one client alone sends one request after the other. False where nobody asks OnLoneArrival.
  bool HasLoneClient() const { return alone_ == kAloneFirst; }

 private:
  static constexpr std::chrono::milliseconds kLongestTurn{5};
  static constexpr uint32_t kAloneFirst = 16;  // lone arrivals in a row make a lone client
  static constexpr uint32_t kPeriod = 8192;    // requests
  static constexpr uint32_t kTry = 64;         // of them, the other way
  static constexpr uint32_t kSettling = 32;

  // What took several times as long as usual was not up to us.
  static void Record(Clock::duration& average, Clock::duration turn) {
    average += average.count() == 0 ? turn : (std::min(turn, 4 * average) - average) / 16;
  }

  Clock::time_point last_arrival_;
  Clock::duration with_{};  // zero: both ways look perfect until they were tried
  Clock::duration without_{};
  uint32_t alone_ = 0;  // lone arrivals in a row, counted to kAloneFirst
  uint32_t count_ = 0;
  uint32_t turns_this_way_ = 0;
  bool spinning_ = false;
};

}  // namespace zerohop

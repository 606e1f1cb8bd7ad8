#pragma once

// Back-off: how long a replica slot waits before its next generation.
//
// A replica that served a minute restarts at once. One that dies again within
// that minute waits 1, 2, 4 … 30 s, so that a crash loop does not take the CPU
// from its neighbours. With no neighbour serving there is nothing to protect,
// and then no wait is longer than kAlone; asked anew at each look, because the
// last neighbour may die while this one waits.

#include <algorithm>
#include <chrono>

namespace zerohop {

class Backoff {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kLongest{30};
  static constexpr std::chrono::seconds kServedLongEnough{60};
  static constexpr std::chrono::milliseconds kAlone{250};

  // `served`: how long the generation that just ended had been serving, 0 if never.
  void OnDeath(Clock::duration served) {
    if (served >= kServedLongEnough) deaths_ = 0;
    ++deaths_;
  }
  // From the latest death to the next start.
  Clock::duration Wait(bool others_serve) const {
    const Clock::duration wait =
        deaths_ <= 1
            ? Clock::duration::zero()
            : std::min<Clock::duration>(kLongest, std::chrono::seconds(1) * (1 << std::min(deaths_ - 2, 5)));
    return others_serve ? wait : std::min<Clock::duration>(wait, kAlone);
  }

 private:
  int deaths_ = 0;  // since the last generation that served long enough
};

}  // namespace zerohop

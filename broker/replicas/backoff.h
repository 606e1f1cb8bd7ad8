#pragma once

// Back-off: how long a replica slot waits before its next generation.
//
// A replica that served a minute restarts at once. One that dies again within
// that minute waits 1, 2, 4 … 30 s, so that a crash loop does not take the CPU
// from its neighbours. With no neighbour serving there is nothing to protect,
// and then no wait is longer than kAlone.

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
  Clock::duration AfterDeath(Clock::duration served, bool others_serve) {
    if (served >= kServedLongEnough) deaths_ = 0;
    const Clock::duration wait =
        deaths_ == 0
            ? Clock::duration::zero()
            : std::min<Clock::duration>(kLongest, std::chrono::seconds(1) * (1 << std::min(deaths_ - 1, 5)));
    ++deaths_;
    return others_serve ? wait : std::min<Clock::duration>(wait, kAlone);
  }

 private:
  int deaths_ = 0;  // since the last generation that served long enough
};

}  // namespace zerohop

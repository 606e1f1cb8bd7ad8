#pragma once

// Spin: to wait awake, for a while, for what another core is about to do. That
// takes a core from someone, so a budget says when it pays.

#include <chrono>

namespace zerohop {

// Whether spinning before sleeping would win, from how long recent waits took.
// A limit of 0 (no core to spare) never spins.
class SpinBudget {
 public:
  explicit SpinBudget(std::chrono::nanoseconds limit) : limit_(limit) {}
  // How long to spin now: all of the limit or nothing.
  std::chrono::nanoseconds budget() const {
    return typical_ <= 2 * limit_ ? limit_ : std::chrono::nanoseconds(0);
  }
  // A wait, spun or slept, took this long. A slept one counts its waking too, hence the 2 above.
  void Record(std::chrono::nanoseconds waited) { typical_ += (waited - typical_) / 8; }

 private:
  std::chrono::nanoseconds limit_;
  std::chrono::nanoseconds typical_{0};  // moving average
};

// Tells the core that we spin.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How a spin ended.
struct Spun {
  bool seen = false;
  std::chrono::nanoseconds took{0};  // as of the last look at the clock; 0 within the first round
};

// Until `seen()`, which is asked at least once, or `limit` has passed. The clock is read between rounds of
// looks, and not once more at the end: nobody who has been answered waits for it.
template <typename Seen>
Spun SpinUntil(Seen seen, std::chrono::nanoseconds limit) {
  constexpr int kLooksPerRound = 64;
  if (seen()) return {true};
  if (limit.count() <= 0) return {};
  const auto begin = std::chrono::steady_clock::now();
  Spun spun;
  while (spun.took < limit) {
    for (int look = 0; look < kLooksPerRound; ++look) {
      Pause();
      if (seen()) return {true, spun.took};
    }
    spun.took = std::chrono::steady_clock::now() - begin;
  }
  return spun;
}

}  // namespace zerohop

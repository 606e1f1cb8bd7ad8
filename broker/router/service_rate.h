#pragma once

// Service rate: how much work all replicas together finish in a second while
// there is more than they can run at once. Measured only then: an idle house says
// nothing of what it could do. Pure but for its own averages; times go in.

#include <chrono>
#include <cstdint>
#include <optional>

namespace zerohop {

class ServiceRate {
 public:
  using Clock = std::chrono::steady_clock;

  void OnFinished(uint64_t tokens) {
    tokens_ += tokens;
    ++finished_;
  }
  // At each turn of the router, after what finished in it. `saturated`: there is more than all can run at
  // once.
  void Look(bool saturated, Clock::time_point now) {
    if (!saturated) {
      since_.reset();
      tokens_ = finished_ = 0;
    }
    if (finished_ == 0) return;
    // A sample begins with something that finishes, and ends with something that finishes.
    if (!since_) return Begin(now);
    const std::chrono::duration<double> seconds = now - *since_;
    if (finished_ < kEnough || seconds < kShortest) return;
    // Sums that fade, not a mean of rates: whole batches finish at once, and when those of two replicas
    // follow closely, that says nothing of the next.
    faded_tokens_ += static_cast<double>(tokens_) - kWeight * faded_tokens_;
    faded_seconds_ += seconds.count() - kWeight * faded_seconds_;
    ++samples_;
    Begin(now);
  }
  // How long so much work takes; nothing while the rate is not known.
  std::optional<std::chrono::duration<double>> TimeFor(uint64_t tokens) const {
    if (samples_ < kTrusted || faded_tokens_ <= 0) return std::nullopt;
    return std::chrono::duration<double>(static_cast<double>(tokens) * faded_seconds_ / faded_tokens_);
  }

 private:
  static constexpr uint32_t kEnough = 16;  // shards in a sample
  static constexpr std::chrono::duration<double> kShortest{0.25};
  static constexpr uint32_t kTrusted = 2;  // samples before anybody is told
  static constexpr double kWeight = 0.3;   // of the latest sample

  void Begin(Clock::time_point now) {
    since_ = now;
    tokens_ = 0;
    finished_ = 0;
  }

  std::optional<Clock::time_point> since_;  // of this sample
  uint64_t tokens_ = 0;
  uint32_t finished_ = 0;  // shards
  uint32_t samples_ = 0;
  double faded_tokens_ = 0, faded_seconds_ = 0;  // of all samples, older ones less
};

}  // namespace zerohop

#pragma once

// Service rate: how much work all replicas together finish in a second while
// more of it waits than they can take. Measured only then: an idle house says
// nothing of what it could do. Pure but for its own averages; times go in.

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace zerohop {

class ServiceRate {
 public:
  using Clock = std::chrono::steady_clock;

  void OnFinished(uint64_t tokens) {
    tokens_ += tokens;
    ++finished_;
  }
  // At each turn of the router. `waiting`: work waits that no replica may take yet.
  void Look(bool waiting, Clock::time_point now) {
    const bool was_waiting = std::exchange(waiting_, waiting);
    if (!was_waiting || !waiting) return Begin(now);
    const std::chrono::duration<double> seconds = now - since_;
    if (seconds < (finished_ < kEnough ? kLongest : kShortest)) return;
    const double rate = static_cast<double>(tokens_) / seconds.count();
    rate_ = rate_ == 0 ? rate : rate_ + kWeight * (rate - rate_);
    Begin(now);
  }
  // How long so much work takes; nothing while the rate is not known.
  std::optional<std::chrono::duration<double>> TimeFor(uint64_t tokens) const {
    if (rate_ <= 0) return std::nullopt;
    return std::chrono::duration<double>(static_cast<double>(tokens) / rate_);
  }

 private:
  // A sample lasts until enough has finished to tell, or so long that this tells, too.
  static constexpr uint32_t kEnough = 16;
  static constexpr std::chrono::duration<double> kShortest{0.25};
  static constexpr std::chrono::duration<double> kLongest{2.0};
  static constexpr double kWeight = 0.3;

  void Begin(Clock::time_point now) {
    since_ = now;
    tokens_ = 0;
    finished_ = 0;
  }

  Clock::time_point since_;
  uint64_t tokens_ = 0;    // of this sample
  uint32_t finished_ = 0;  // shards
  bool waiting_ = false;
  double rate_ = 0;  // tokens a second; 0: not known
};

}  // namespace zerohop

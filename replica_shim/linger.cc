#include "replica_shim/linger.h"

#include <algorithm>
#include <utility>

namespace zerohop {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;

constexpr uint32_t kRecentPasses = 32;    // that averages are over
constexpr double kLeastVariation = 0.01;  // of the tokens a pass, squared, for a line that means something
constexpr int kShareOfPass = 4;           // the longest wait: a quarter, ...
constexpr std::chrono::milliseconds kLongestWait{20};  // ... and this
constexpr std::chrono::microseconds kLeastWait{100};   // less is lost in going to sleep
constexpr uint32_t kLongestSkip = 64;                  // passes

}  // namespace

Linger::Clock::duration Linger::TimeToWait(size_t at_hand, Clock::time_point now) {
  if (std::exchange(seen_, came_) != came_) last_came_ = now;
  if (skip_ > 0 || at_hand == 0 || came_ >= answered_) return {};
  const int64_t absent = answered_ - std::max<int64_t>(0, came_);
  const double missing = double(prompts_answered_) * double(absent) / double(answered_);
  const duration<double> worth(cost_.fixed() * std::min(1.0, missing / double(at_hand)));
  const Clock::time_point until =
      std::min(last_came_ + duration_cast<Clock::duration>(worth),
               end_ + std::min<Clock::duration>(took_ / kShareOfPass, kLongestWait));
  if (until - now < kLeastWait) return {};
  waited_ = true;
  return until - now;
}

void Linger::LearnPass(uint64_t tokens, Clock::duration took) {
  cost_.Learn(double(tokens), duration<double>(took).count());
  took_ = took;
}

void Linger::JudgeWait() {
  if (skip_ > 0) --skip_;
  if (!waited_) return;
  waited_ = false;
  if (came_ * 4 >= answered_ * 3) {
    next_skip_ = 1;
  } else {
    skip_ = next_skip_;
    next_skip_ = std::min(next_skip_ * 2, kLongestSkip);
  }
}

void Linger::OnAnswered(size_t submissions, size_t prompts, size_t waiting, Clock::time_point now) {
  answered_ = static_cast<int64_t>(submissions);
  prompts_answered_ = prompts;
  came_ = seen_ = -static_cast<int64_t>(waiting);
  end_ = last_came_ = now;
}

void Linger::PassCost::Learn(double tokens, double seconds) {
  passes_ = std::min(passes_ + 1, kRecentPasses);
  const auto learn = [&](double& average, double value) { average += (value - average) / passes_; };
  learn(tokens_, tokens);
  learn(seconds_, seconds);
  learn(tokens_squared_, tokens * tokens);
  learn(tokens_by_seconds_, tokens * seconds);
  const double variance = tokens_squared_ - tokens_ * tokens_;
  if (variance > kLeastVariation * tokens_ * tokens_) {
    fixed_ = seconds_ - tokens_ * (tokens_by_seconds_ - tokens_ * seconds_) / variance;
  }
  fixed_ = std::clamp(fixed_, 0.0, seconds_);
}

}  // namespace zerohop

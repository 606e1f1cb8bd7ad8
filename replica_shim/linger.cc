#include "replica_shim/linger.h"

#include <algorithm>
#include <utility>

namespace zerohop {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;

constexpr double kLearn = 1.0 / 32;       // weight of the newest pass
constexpr double kLeastVariation = 0.01;  // of the tokens a pass, squared, for a line that means something
constexpr int kShareOfPass = 4;           // the longest wait: a quarter
constexpr uint32_t kLongestSkip = 64;     // passes

}  // namespace

void Linger::OnTaken(size_t submissions) {
  // The first look finds what had come before the answers left.
  if (std::exchange(looked_, true)) came_ += submissions;
}

Linger::Clock::duration Linger::Wait(size_t at_hand, Clock::time_point now) {
  if (std::exchange(seen_, came_) != came_) last_came_ = now;
  if (skip_ > 0 || at_hand == 0 || came_ >= answered_) return {};
  const double missing = double(prompts_answered_) * double(answered_ - came_) / double(answered_);
  const duration<double> worth(cost_.fixed() * std::min(1.0, missing / double(at_hand)));
  const Clock::time_point until =
      std::min(last_came_ + duration_cast<Clock::duration>(worth), end_ + took_ / kShareOfPass);
  if (until <= now) return {};
  waited_ = true;
  return until - now;
}

void Linger::OnPass(uint64_t tokens, Clock::duration took) {
  Judge();
  cost_.Learn(double(tokens), duration<double>(took).count());
  took_ = took;
}

// Whether those who were awaited came before the pass that has run.
void Linger::Judge() {
  if (skip_ > 0) --skip_;
  if (!waited_) return;
  waited_ = false;
  if (came_ * 2 >= answered_) {
    next_skip_ = 1;
  } else {
    skip_ = next_skip_;
    next_skip_ = std::min(next_skip_ * 2, kLongestSkip);
  }
}

void Linger::OnAnswered(size_t submissions, size_t prompts, Clock::time_point now) {
  answered_ = submissions;
  prompts_answered_ = prompts;
  came_ = seen_ = 0;
  looked_ = false;
  end_ = last_came_ = now;
}

void Linger::PassCost::Learn(double tokens, double seconds) {
  const double weight = known_ ? kLearn : 1;
  known_ = true;
  const auto learn = [&](double& average, double value) { average += weight * (value - average); };
  learn(tokens_, tokens);
  learn(seconds_, seconds);
  learn(tokens_squared_, tokens * tokens);
  learn(tokens_by_seconds_, tokens * seconds);
  const double variance = tokens_squared_ - tokens_ * tokens_;
  if (variance <= kLeastVariation * tokens_ * tokens_) return;
  const double per_token = (tokens_by_seconds_ - tokens_ * seconds_) / variance;
  fixed_ = std::clamp(seconds_ - per_token * tokens_, 0.0, seconds_);
}

}  // namespace zerohop

#pragma once

// ReplicaConduct: what a replica's completions say of its health. Beats and
// progress are its own words; completions are checked. Pure; times go in.
//
//   does not complete the shard that it has held longest  it hangs, or has forgotten it, whatever
//                                                         its heartbeat says
//   fails what others then complete                       its engine is broken, and it would go on
//                                                         to take work from those that could do it

#include <chrono>
#include <cstdint>
#include <optional>

#include "broker/lanes/lane_port.h"

namespace zerohop {

class ReplicaConduct {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr uint32_t kMostFailures = 8;  // in a row

  // Every now and then: the shard that it has held longest, if any.
  void Look(const std::optional<HeldShard>& oldest, Clock::time_point now) {
    if (!oldest || !oldest_ || oldest->position != oldest_->position) since_ = now;
    oldest_ = oldest;
  }
  // Whether that one is the oldest for longer than its passes may take.
  bool IsOverdue(std::chrono::nanoseconds per_pass, Clock::time_point now) const {
    return oldest_ && (now - since_) / oldest_->passes > per_pass;
  }
  Clock::duration HeldFor(Clock::time_point now) const { return now - since_; }

  void OnSuccess() { failures_ = 0; }
  // Another replica has completed what this one failed with.
  void OnFailureDisproved() { ++failures_; }
  bool FailsAlone() const { return failures_ >= kMostFailures; }

 private:
  std::optional<HeldShard> oldest_;
  Clock::time_point since_;  // since when it is the oldest
  uint32_t failures_ = 0;
};

}  // namespace zerohop

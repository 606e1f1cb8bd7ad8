#pragma once

// ReplicaConduct: what a replica's completions say of its health. Beats and
// progress are its own words; completions are checked. Pure; times go in.
//
//   holds work and completes none of it  it hangs, whatever its heartbeat says
//   fails what others then complete      its engine is broken, and it would go on
//                                        to take work from those that could do it

#include <chrono>
#include <cstdint>

namespace zerohop {

class ReplicaConduct {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr uint32_t kMostFailures = 8;  // in a row

  explicit ReplicaConduct(Clock::time_point now = {}) : silent_since_(now) {}

  // At each turn. `completed`: so far, of any status.
  void Look(uint32_t shards_in_flight, uint64_t completed, Clock::time_point now) {
    if (shards_in_flight == 0 || completed != completed_) silent_since_ = now;
    completed_ = completed;
  }
  Clock::duration SilentFor(Clock::time_point now) const { return now - silent_since_; }

  void OnSuccess() { failures_ = 0; }
  // Another replica has completed what this one failed with.
  void OnFailureDisproved() { ++failures_; }
  bool FailsAlone() const { return failures_ >= kMostFailures; }

 private:
  uint64_t completed_ = 0;
  uint32_t failures_ = 0;
  Clock::time_point silent_since_;
};

}  // namespace zerohop

#pragma once

// Heartbeat: two counters by which a replica shows that it lives and works.
//
// `beat` says the process runs (a side thread bumps it); `progress` says the
// worker finishes steps. Neither proves anything: silence raises suspicion,
// and only the pidfd proves death. Counters, not times, so that the broker
// measures silence by its own clock and a replica cannot claim the future.

#include <atomic>
#include <chrono>
#include <cstdint>

#include "shm/lane_format.h"

namespace zerohop {

// What the worker is doing; each phase has its own allowance for silence.
enum class Phase : uint32_t { kLoading = 0, kIdle = 1, kRunning = 2 };

// The shim's view. Beat: side thread only. Progress, Enter: worker only.
class HeartbeatWriter {
 public:
  HeartbeatWriter() = default;
  explicit HeartbeatWriter(HeartbeatSlot* slot) : slot_(slot) {}

  // Relaxed throughout: the values are the whole message, nothing is read through them.
  void Beat() { slot_->beat.fetch_add(1, std::memory_order_relaxed); }
  void Progress() { slot_->progress.fetch_add(1, std::memory_order_relaxed); }
  void Enter(Phase phase) {
    slot_->phase.store(static_cast<uint32_t>(phase), std::memory_order_relaxed);
    Progress();
  }

 private:
  HeartbeatSlot* slot_ = nullptr;
};

// The broker's view: how long has each counter stood still, by the broker's clock.
class HeartbeatReader {
 public:
  using Clock = std::chrono::steady_clock;

  HeartbeatReader() = default;
  HeartbeatReader(const HeartbeatSlot* slot, Clock::time_point now)
      : slot_(slot), beat_seen_at_(now), progress_seen_at_(now) {}

  // Reads both counters; call at each tick, before the questions below.
  void Look(Clock::time_point now) {
    const uint64_t beat = slot_->beat.load(std::memory_order_relaxed);          // a counter alone
    const uint64_t progress = slot_->progress.load(std::memory_order_relaxed);  // a counter alone
    if (beat != beat_) beat_ = beat, beat_seen_at_ = now;
    if (progress != progress_) progress_ = progress, progress_seen_at_ = now;
  }
  // A phase that a liar invents counts as running, the strictest that expects progress.
  Phase phase() const {
    const uint32_t phase = slot_->phase.load(std::memory_order_relaxed);  // a value alone
    return phase <= 2 ? static_cast<Phase>(phase) : Phase::kRunning;
  }
  // False while the process is still on its way to its first beat.
  bool HasBeaten() const { return beat_ != 0; }
  Clock::duration BeatSilentFor(Clock::time_point now) const { return now - beat_seen_at_; }
  Clock::duration ProgressSilentFor(Clock::time_point now) const { return now - progress_seen_at_; }

 private:
  const HeartbeatSlot* slot_ = nullptr;
  uint64_t beat_ = 0;
  uint64_t progress_ = 0;
  Clock::time_point beat_seen_at_;
  Clock::time_point progress_seen_at_;
};

}  // namespace zerohop

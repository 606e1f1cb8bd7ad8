#pragma once

// Liveness: when silence becomes suspicion. Pure: times go in, a verdict comes
// out. Suspicion leads to SIGKILL and never proves death; the pidfd does that.

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

#include "shm/heartbeat.h"

namespace zerohop {

// How long each counter may stand still.
struct LivenessBudget {
  std::chrono::nanoseconds beat = std::chrono::seconds(5);       // the whole process; also an idle worker
  std::chrono::nanoseconds loading = std::chrono::seconds(120);  // the engine's load, one step
  std::chrono::nanoseconds running = std::chrono::seconds(60);   // one pass over the model
};

// Why the replica is suspect, in words for the log; nothing when it is not.
inline std::optional<std::string> Suspicion(const HeartbeatReader& heartbeat, const LivenessBudget& budget,
                                            HeartbeatReader::Clock::time_point now) {
  auto seconds = [](std::chrono::nanoseconds d) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", std::chrono::duration<double>(d).count());
    return std::string(text);
  };
  // Until the first beat the process is being started, which counts as loading.
  if (heartbeat.HasBeaten() && heartbeat.BeatSilentFor(now) > budget.beat) {
    return "hang: no beat for " + seconds(heartbeat.BeatSilentFor(now)) + " s";
  }
  const auto silent = heartbeat.ProgressSilentFor(now);
  switch (heartbeat.phase()) {
    case Phase::kLoading:
      if (silent > budget.loading) return "hang: loading for more than " + seconds(budget.loading) + " s";
      break;
    case Phase::kIdle:
      if (silent > budget.beat) return "hang: idle worker stopped for " + seconds(silent) + " s";
      break;
    case Phase::kRunning:
      if (silent > budget.running) return "hang: one pass takes more than " + seconds(budget.running) + " s";
      break;
  }
  return std::nullopt;
}

}  // namespace zerohop

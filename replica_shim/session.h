#pragma once

// Session: a replica's stay with one broker, from the hello to the drain or to
// the broker's end. The engine is older than the session and may outlive it:
// it is loaded in the first one and stays warm for the next.

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "replica_shim/lifeline.h"
#include "replica_shim/replica_options.h"

namespace zerohop {

// An engine that is loaded when it is first asked for.
class WarmEngine {
 public:
  explicit WarmEngine(const EngineOptions& options) : options_(options) {}
  // An error is one sentence; nothing can be served then.
  absl::StatusOr<EngineInfo> Load();
  Engine& engine() { return *engine_; }

 private:
  const EngineOptions options_;
  std::unique_ptr<Engine> engine_;
  std::optional<EngineInfo> info_;
};

// Ok: drained, or fenced because the broker is gone. Unavailable: the broker
// was gone before the lane served. Else why this replica cannot serve; the
// broker has been told.
absl::Status RunSession(ControlChannel& control, WarmEngine& engine, int cpu, WhenAlone when_alone);

}  // namespace zerohop

#pragma once

// Session: a replica's stay with one broker, from the hello to the drain or to
// the broker's end. The engine is older than the session and may outlive it:
// it is loaded in the first one and stays warm for the next.

#include <chrono>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "replica_shim/device_rows.h"
#include "replica_shim/engine.h"
#include "replica_shim/lifeline.h"

namespace zerohop {

// An engine that is loaded when it is first asked for, and the worker that fits it.
class WarmEngine {
 public:
  using Make = std::function<absl::StatusOr<AnyEngine>()>;

  WarmEngine(const EngineOptions& options, Make make) : options_(options), make_(std::move(make)) {}
  // An error is one sentence; nothing can be served then.
  absl::StatusOr<EngineInfo> Load();
  // After Load: until the orders say drain or leave. `step`: what one pass over the model may take.
  absl::Status Serve(ReplicaLane& lane, std::chrono::nanoseconds step, std::function<Orders()> orders);
  // After Load, before Serve: where the rows of this lane go. An error where they cannot get to the broker.
  absl::StatusOr<ReturnVerdict> BindRows(const ReplicaLane& lane, const std::optional<DeviceOffer>& offer);
  // After Serve, before Close: the lane is about to go. Waits for the engine's stream.
  void ReleaseRows();
  // After the last Serve.
  void Close();

 private:
  const EngineOptions options_;
  const Make make_;
  AnyEngine engine_;
  std::optional<EngineInfo> info_;
  std::optional<DeviceRows> rows_;  // of an engine with a device, while it serves a lane
};

// Ok: drained, or fenced because the broker is gone. Unavailable: the broker
// was gone before the lane served. Else why this replica cannot serve; the
// broker has been told.
absl::Status RunSession(ControlChannel& control, WarmEngine& engine, int cpu, WhenAlone when_alone);

}  // namespace zerohop

#pragma once

// What the broker (or a supervisor) tells a replica on its command line.

#include "absl/status/statusor.h"
#include "replica_shim/engine.h"

namespace zerohop {

// The descriptor of the control socket in a replica that the broker spawned.
inline constexpr int kControlFd = 3;

struct ReplicaOptions {
  EngineOptions engine;
  int cpu = -1;         // pin the worker to this CPU; -1: leave it where it may run
  std::string connect;  // path of a broker's control socket to attach to; empty: the broker spawned us
};

// InvalidArgument names the flag that nobody takes, or the value that is wrong.
absl::StatusOr<ReplicaOptions> ParseReplicaOptions(int argc, char** argv);

}  // namespace zerohop

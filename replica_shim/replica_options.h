#pragma once

// What the broker (or a supervisor) tells a replica on its command line.

#include "absl/status/statusor.h"
#include "replica_shim/engine.h"
#include "replica_shim/serve_replica.h"

namespace zerohop {

struct ReplicaOptions {
  EngineOptions engine;
  ReplicaPlace place;
};

// InvalidArgument names the flag that nobody takes, or the value that is wrong.
absl::StatusOr<ReplicaOptions> ParseReplicaOptions(int argc, char** argv);

}  // namespace zerohop

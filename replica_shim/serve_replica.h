#pragma once

// The life of a replica's process, whatever its engine: with the broker that
// spawned it, or with one after the other of those that it attaches to.

#include <string>

#include "replica_shim/session.h"

namespace zerohop {

// Where a replica belongs.
struct ReplicaPlace {
  int cpu = -1;         // pin the worker to this CPU; -1: leave it where it may run
  std::string connect;  // path of a broker's control socket to attach to; empty: the broker spawned us
};

// What to say to whom starts a replica by hand.
inline constexpr char kNotSpawned[] =
    "a replica is started by `zerohop serve`, which hands it a control socket; to attach one to a broker, "
    "say "
    "--connect SOCKET";

// Whether descriptor kControlFd is a control socket, so that a broker has started us.
bool IsSpawned();

// Returns the exit status of the process; what went wrong is on stderr. Signals
// are set up as the place demands.
int ServeReplica(WarmEngine& engine, const ReplicaPlace& place);

// A spawned replica that cannot even begin: tells the broker why, in one sentence.
int RefuseToServe(const absl::Status& why);

}  // namespace zerohop

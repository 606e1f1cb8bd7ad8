#pragma once

// The life of one replica slot, as a table and a pure function. Effects
// (spawn, kill, tell the router) live with the Supervisor.
//
//              | kSpawned  | kReady    | kKill    | kDrain    | kExited
//  kWaiting    | kLoading  | kWaiting  | kWaiting | kStopped  | kWaiting
//  kLoading    | kLoading  | kServing  | kKilled  | kDraining | kWaiting
//  kServing    | kServing  | kServing  | kKilled  | kDraining | kWaiting
//  kKilled     | kKilled   | kKilled   | kKilled  | kEnding   | kWaiting
//  kDraining   | kDraining | kDraining | kEnding  | kDraining | kStopped
//  kEnding     | kEnding   | kEnding   | kEnding  | kEnding   | kStopped
//  kStopped    | kStopped  | kStopped  | kStopped | kStopped  | kStopped
//
// kKill: we sent SIGKILL (hang, garbage, failed start). Only kExited, seen
// through the pidfd, frees what the process could write to.

#include <string_view>

namespace zerohop {

enum class ReplicaState {
  kWaiting,   // no process; a new generation starts when the back-off is over
  kLoading,   // spawned; the engine loads
  kServing,   // takes work
  kKilled,    // SIGKILL sent, exit not seen yet
  kDraining,  // finishes what it took; no new generation follows
  kEnding,    // SIGKILL sent while draining
  kStopped,   // gone for good: the broker is leaving
};

enum class ReplicaEvent { kSpawned, kReady, kKill, kDrain, kExited };

constexpr ReplicaState Next(ReplicaState from, ReplicaEvent event) {
  using enum ReplicaState;
  switch (event) {
    case ReplicaEvent::kSpawned:
      return from == kWaiting ? kLoading : from;
    case ReplicaEvent::kReady:
      return from == kLoading ? kServing : from;
    case ReplicaEvent::kKill:
      if (from == kLoading || from == kServing) return kKilled;
      return from == kDraining ? kEnding : from;
    case ReplicaEvent::kDrain:
      if (from == kWaiting) return kStopped;
      if (from == kLoading || from == kServing) return kDraining;
      return from == kKilled ? kEnding : from;
    case ReplicaEvent::kExited:
      if (from == kDraining || from == kEnding) return kStopped;
      return from == kStopped ? kStopped : kWaiting;
  }
  return from;
}

constexpr std::string_view Name(ReplicaState state) {
  switch (state) {
    case ReplicaState::kWaiting:
      return "waiting";
    case ReplicaState::kLoading:
      return "loading";
    case ReplicaState::kServing:
      return "serving";
    case ReplicaState::kKilled:
      return "killed";
    case ReplicaState::kDraining:
      return "draining";
    case ReplicaState::kEnding:
      return "ending";
    case ReplicaState::kStopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace zerohop

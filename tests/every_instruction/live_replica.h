#pragma once

// LiveReplica: one generation of a replica as the supervisor has it: a
// process of the real program, its lane, and the words of the control socket.
// Destruction kills the process and waits for its exit.

#include <memory>
#include <string>

#include "broker/replicas/replica_process.h"
#include "shm/lane.h"

namespace zerohop {

class LiveReplica {
 public:
  // Starts the process, which then waits for its lane. Throws where it cannot.
  LiveReplica(const LaneIdentity& identity, const LaneGeometry& geometry);

  // Hands the lane over; returns once the engine is loaded and the lane is served.
  EngineInfo Join(const BrokerBell& bell);

  pid_t pid() const { return process_.pid(); }
  const std::shared_ptr<BrokerLane>& lane() const { return lane_; }
  // All that it has printed and that was not asked for before.
  std::string Output() const;
  bool Exited() const;

  // Returns when it is stopped: it does nothing until GoOn.
  void Halt();
  void GoOn();

  void Kill() { process_.Kill(); }
  // Until the pidfd says that it is gone.
  void AwaitExit() const;
  // After its exit: how it ended.
  std::string Reap() { return process_.Reap(); }
  // Ours is the last reference but for the router's and its answers'.
  void DropLane() { lane_.reset(); }

 private:
  ControlMessage Hear();

  std::shared_ptr<BrokerLane> lane_;
  ReplicaProcess process_;
};

}  // namespace zerohop

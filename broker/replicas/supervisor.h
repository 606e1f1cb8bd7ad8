#pragma once

// Supervisor: starts replicas, watches them, replaces the dead.
//
// Runs on one thread of its own, which owns every process, control socket and
// output pipe. Other threads may ask it to kill (RequestKill), read what it
// knows (Snapshot), and tell it to end (Drain). It tells a LaneObserver which
// lanes serve; it does not know what is in flight on them.
// The states are in replica_state.h; what each event does is in this file.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "broker/replicas/backoff.h"
#include "broker/replicas/child_process.h"
#include "broker/replicas/liveness.h"
#include "broker/replicas/replica_output.h"
#include "broker/replicas/replica_state.h"
#include "shm/lane.h"

namespace zerohop {

struct SupervisorOptions {
  std::vector<std::string> command;  // program and engine flags, the same for every replica
  uint32_t replicas = 4;
  bool pin = false;  // replica i to the i-th usable CPU
  LaneGeometry geometry;
  LivenessBudget liveness;
  std::chrono::nanoseconds health_interval = std::chrono::seconds(1);  // between looks at the heartbeats
  std::chrono::nanoseconds spin_limit{0};                              // of a replica's worker
  std::chrono::nanoseconds beat = std::chrono::milliseconds(100);
};

// Hears of lanes, on the supervisor's thread.
class LaneObserver {
 public:
  virtual ~LaneObserver() = default;
  // The replica serves `lane`. InvalidArgument refuses it (another model than its siblings').
  virtual absl::Status OnServing(uint32_t replica, std::shared_ptr<BrokerLane> lane,
                                 const EngineInfo& info) = 0;
  // The process of the lane given last has exited: nobody writes to it any more.
  virtual void OnGone(uint32_t replica, const std::string& reason) = 0;
};

// What the rest of the broker wants to hear, on the supervisor's thread.
struct SupervisorEvents {
  // Once, if replicas cannot start and none has ever served: the reason, for people.
  std::function<void(const std::string& reason)> failed_start;
  // How many replicas serve now.
  std::function<void(uint32_t serving)> serving_changed;
};

// What is known about one replica, for people.
struct ReplicaStatus {
  ReplicaState state = ReplicaState::kWaiting;
  uint64_t generation = 0;  // the latest; 0: never started
  uint64_t restarts = 0;
  int64_t pid = 0;
  std::string last_death;  // why the generation before ended
  EngineInfo info;         // of the latest generation that served
};

class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;

  // Reserves the first lanes; ResourceExhausted where there is no room.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(SupervisorOptions options, const BrokerBell& bell,
                                                            LaneObserver& observer);
  ~Supervisor();

  void Start(SupervisorEvents events);
  // A replica broke the lane's rules. Ignored where that generation is gone.
  void RequestKill(uint32_t replica, uint64_t generation, std::string reason);
  // Lets every replica finish what it took; kills what remains after `at_most`. Returns when all are gone.
  void Drain(std::chrono::nanoseconds at_most);
  std::vector<ReplicaStatus> Snapshot() const;
  uint32_t CountServing() const;

 private:
  struct Replica {
    uint32_t index = 0;
    ReplicaState state = ReplicaState::kWaiting;
    uint64_t generation = 0;
    ChildProcess process;
    std::shared_ptr<BrokerLane> lane;
    HeartbeatReader heartbeat;
    ReplicaOutput output;
    Backoff backoff;
    Clock::time_point start_at;  // kWaiting: when the next generation may begin
    Clock::time_point served_from;
    bool observed = false;  // the observer knows the lane
    std::string death;      // first reason, if we or it gave one
    ReplicaStatus status;
  };
  struct KillRequest {
    uint32_t replica;
    uint64_t generation;
    std::string reason;
  };

  Supervisor(SupervisorOptions options, const BrokerBell& bell, LaneObserver& observer);

  absl::Status ReserveLane(Replica& replica);
  void Run();
  void WaitForEvents(Clock::time_point now);
  std::chrono::milliseconds UntilNextDeadline(Clock::time_point now) const;
  void Tick(Clock::time_point now);
  void Spawn(Replica& replica, Clock::time_point now);
  std::vector<std::string> CommandFor(const Replica& replica) const;
  void HearControl(Replica& replica);
  void OnMessage(Replica& replica, const ControlMessage& message);
  void SendOffer(Replica& replica);
  void OnReady(Replica& replica, const EngineInfo& info);
  void OnExit(Replica& replica);
  void Kill(Replica& replica, std::string reason);
  void TakeKillRequests();
  void BeginDrain();
  bool AllStopped() const;
  bool OthersServe(const Replica& replica) const;
  void Move(Replica& replica, ReplicaEvent event);
  void Publish(Replica& replica);
  void LogOutput(Replica& replica);
  uint32_t CountServingLocked() const;

  const SupervisorOptions options_;
  const BrokerBell& bell_;
  LaneObserver& observer_;
  const uint64_t epoch_;
  std::vector<Replica> replicas_;
  bool ever_served_ = false;
  int deaths_before_service_ = 0;
  SupervisorEvents events_;
  bool draining_ = false;
  Clock::time_point next_look_;

  UniqueFd wake_;  // eventfd: something below was asked for
  std::atomic<bool> drain_requested_{false};
  std::atomic<int64_t> drain_deadline_ns_{0};
  mutable std::mutex mutex_;  // the two members below
  std::vector<KillRequest> kill_requests_;
  std::vector<ReplicaStatus> snapshot_;
  std::thread thread_;
};

}  // namespace zerohop

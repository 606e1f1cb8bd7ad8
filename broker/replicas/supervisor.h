#pragma once

// Supervisor: starts replicas, or lets them attach, watches them, and replaces
// the dead.
//
// Runs on one thread of its own, which owns every process, control socket and
// output pipe. Other threads may ask it to kill (RequestKill), read what it
// knows (Snapshot), and tell it to end (Drain). What each event does to a
// replica, its death above all, is in replica.h; here is when they are asked.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "broker/replicas/replica.h"
#include "shm/local_door.h"

namespace zerohop {

struct SupervisorOptions {
  std::vector<std::string> command;  // program and engine flags, the same for every replica
  std::string control_socket;        // replicas attach here; empty: they are spawned with `command`
  uint32_t replicas = 4;
  bool pin = false;  // replica i to the i-th usable CPU
  LaneGeometry geometry;
  LivenessBudget liveness;
  std::chrono::nanoseconds health_interval = std::chrono::seconds(1);  // between looks at the heartbeats
  std::chrono::nanoseconds spin_limit{0};                              // of a replica's worker
  std::chrono::nanoseconds beat = std::chrono::milliseconds(100);
  DeviceReturn* device = nullptr;  // for rows by CUDA IPC; outlives the supervisor
};

// What the rest of the broker wants to hear, on the supervisor's thread.
struct SupervisorEvents {
  // Once, if spawned replicas cannot start and none has ever served: the reason, for people.
  std::function<void(const std::string& reason)> failed_start;
  // How many replicas serve now.
  std::function<void(uint32_t serving)> serving_changed;
};

class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;

  // Reserves the first lanes, opens the control socket: errors where there is no room, or the name is taken.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(SupervisorOptions options, const BrokerBell& bell,
                                                            LaneObserver& observer);
  ~Supervisor();

  void Start(SupervisorEvents events);
  // A replica broke the lane's rules, or there is a sign that it dies (an empty reason).
  // Ignored where that generation is gone.
  void RequestKill(uint32_t replica, uint64_t generation, std::string reason,
                   Clock::time_point sign_at = Clock::now());
  // Lets every replica finish what it took; ends what remains after `at_most`. Returns when all are gone.
  void Drain(std::chrono::nanoseconds at_most);
  std::vector<ReplicaStatus> Snapshot() const;
  uint32_t CountServing() const;

 private:
  struct KillRequest {
    uint32_t replica;
    uint64_t generation;
    std::string reason;
    Clock::time_point sign_at;
  };

  Supervisor(SupervisorOptions options, const BrokerBell& bell, LaneObserver& observer);

  bool Attaches() const { return !options_.control_socket.empty(); }
  void Run();
  void Tick(Clock::time_point now);
  void BeginReplica(Replica& replica, Clock::time_point now);
  std::vector<std::string> CommandFor(const Replica& replica) const;
  void WaitForEvents(Clock::time_point now);
  std::chrono::milliseconds UntilNextDeadline(Clock::time_point now) const;
  void OnExit(Replica& replica);
  void TakeKillRequests();
  void BeginDrain();
  bool AbandonTheUndying(Clock::time_point now);
  bool AllStopped() const;
  bool OthersServe(const Replica& replica) const;
  void Publish(uint32_t replica, const ReplicaStatus& status);
  uint32_t CountServingLocked() const;
  void Wake();

  const SupervisorOptions options_;
  UniqueFd wake_;  // eventfd: something that other threads write was changed
  std::atomic<bool> drain_requested_{false};
  std::atomic<int64_t> drain_deadline_ns_{0};
  mutable std::mutex mutex_;  // the two members below
  std::vector<KillRequest> kill_requests_;
  std::vector<ReplicaStatus> snapshot_;

  LaneMaker lanes_;
  LifelineWatch lifelines_;
  ReplicaSurroundings around_;
  LocalDoor door_;
  std::vector<Replica> replicas_;
  SupervisorEvents events_;
  int starts_that_failed_ = 0;
  bool ever_served_ = false;
  bool someone_may_begin_ = false;  // attached replicas are let in
  bool draining_ = false;
  Clock::time_point next_look_;
  std::thread thread_;
};

}  // namespace zerohop

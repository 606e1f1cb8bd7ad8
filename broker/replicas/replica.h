#pragma once

// Replica: one replica slot of the broker: the process of its present
// generation, the lane they share, and what is told of it.
// The states are a table in replica_state.h; what happens at each event is here.
// Belongs to the supervisor's thread.
//
// The death path. Whatever ends a generation comes through two methods, in
// this order and once each:
//   Doom    SIGKILL is sent: it hung, lied, hung up, or dies already. From here
//           on nothing of it is believed: what it had committed is taken once,
//           the rest goes to others.
//   OnExit  its exit was seen: nobody writes to the lane any more. Only now is
//           the lane given up, and the next generation may begin.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/replicas/backoff.h"
#include "broker/replicas/lane_maker.h"
#include "broker/replicas/lifeline_watch.h"
#include "broker/replicas/liveness.h"
#include "broker/replicas/replica_output.h"
#include "broker/replicas/replica_process.h"
#include "broker/replicas/replica_state.h"
#include "shm/lane.h"

namespace zerohop {

// What became of the work of a replica that was doomed, in shards.
struct TakenBack {
  size_t committed = 0;  // had been completed: they count
  size_t requeued = 0;   // go to others, or end for good
  size_t posted = 0;     // of all that waits, posted at once
};

// Hears of lanes, on the supervisor's thread.
class LaneObserver {
 public:
  virtual ~LaneObserver() = default;
  // The replica serves `lane`, its worker on `cpu` alone (or kAnyCpu). InvalidArgument refuses it
  // (another model than its siblings').
  virtual absl::Status OnServing(uint32_t replica, std::shared_ptr<BrokerLane> lane, const EngineInfo& info,
                                 int cpu) = 0;
  // The replica of the lane given last ends, or has been told to: its lane is not read any more.
  virtual TakenBack OnDoomed(uint32_t replica) = 0;
  // Its exit was seen, and `reason` is known.
  virtual void OnGone(uint32_t replica, const std::string& reason) = 0;
};

// What is known about one replica, for people.
struct ReplicaStatus {
  ReplicaState state = ReplicaState::kWaiting;
  uint64_t generation = 0;  // the latest; 0: never started
  uint64_t restarts = 0;
  int64_t pid = 0;
  std::string last_death;  // why the generation before ended
  EngineInfo info;         // of the latest generation that served
  ReturnVerdict taken{};   // the same: how its rows return
};

// What all replicas of a broker have in common. Outlives them.
struct ReplicaSurroundings {
  const BrokerBell& bell;
  LaneObserver& observer;
  LaneMaker& lanes;
  LifelineWatch& lifelines;
  uint64_t epoch;
  LivenessBudget liveness;
  std::chrono::nanoseconds spin_limit;  // of a replica's worker
  std::chrono::nanoseconds beat;
  DeviceReturn* device;  // null: rows are born on the host alone
  std::function<void(uint32_t replica, const ReplicaStatus& status)> publish;
};

// How a generation ended.
struct GenerationEnd {
  bool served = false;
  bool would_say_it_again = false;  // it told by itself why it cannot serve
  std::string reason;
};

class Replica {
 public:
  using Clock = std::chrono::steady_clock;

  Replica(uint32_t index, ReplicaSurroundings& around) : index_(index), around_(around) {}

  uint32_t index() const { return index_; }
  uint64_t generation() const { return status_.generation; }
  ReplicaState state() const { return status_.state; }
  // Empty in states without a process.
  ReplicaProcess& process() { return process_; }

  // Reserves the first lane, while a start may still be refused.
  absl::Status ReserveLaneNow();
  // Whether the next generation may begin. `others_serve`: some other replica serves.
  bool MayBegin(Clock::time_point now, bool others_serve);
  // When MayBegin is worth asking again; only meaningful in kWaiting.
  Clock::time_point MayBeginAt(bool others_serve) const { return ended_at_ + backoff_.Wait(others_serve); }
  // A new generation begins with `process`, or cannot.
  void Begin(absl::StatusOr<ReplicaProcess> process, Clock::time_point now);

  void LogOutput();
  void HearControl();
  // Looks at the heartbeat; suspicion dooms.
  void Look(Clock::time_point now);
  // No effect on a generation that is doomed already. An empty reason: its exit will tell.
  // `sign_at`: when it was noticed that the generation ends.
  void Doom(std::string reason, Clock::time_point sign_at);
  GenerationEnd OnExit(Clock::time_point now);

  void BeginDrain();
  // What has not drained in time is ended; an attached process is let go.
  void EndDrain(Clock::time_point now);

 private:
  static constexpr int kPacketsAtOnce = 16;
  static constexpr std::chrono::seconds kHelloTimeout{5};  // who attaches and says nothing is let go then

  void OnMessage(const ControlMessage& message);
  void OnHello(const Hello& hello);
  void OnReady(const Ready& ready);
  void TakeLane(LaneMaker::Lane made);
  std::optional<DeviceOffer> OfferDevice();
  bool DeviceIsRequired() const;
  void OnHangUp();
  void Dismiss();
  void TakeBackWork(Clock::time_point sign_at);
  bool IsDoomed() const { return state() == ReplicaState::kKilled || state() == ReplicaState::kEnding; }
  void Move(ReplicaEvent event);
  void Publish() { around_.publish(index_, status_); }

  const uint32_t index_;
  ReplicaSurroundings& around_;
  ReplicaProcess process_;
  std::shared_ptr<BrokerLane> lane_;  // of this generation, or reserved for the next
  std::string no_device_;             // why that has none, where it should
  HeartbeatReader heartbeat_;
  ReplicaOutput output_;
  Backoff backoff_;
  Clock::time_point ended_at_ = Clock::time_point::min();  // the latest generation
  Clock::time_point began_at_;
  Clock::time_point served_from_;
  bool said_hello_ = false;
  bool observed_ = false;  // the observer knows the lane
  bool told_failed_ = false;
  std::string death_;  // the first reason, if we or it gave one
  ReplicaStatus status_;
};

}  // namespace zerohop

#pragma once

// Router: carries every accepted request to exactly one answer.
//
// Any thread may Submit, Cancel or Abort; the thread that brings work also
// posts it, under a short lock. The lane thread calls OnBell; the supervisor
// tells which lanes serve. Answers and rings happen after the lock is left.
// Outlives every call it answers. It decides what is accepted, tried again and
// answered; Dispatcher decides which lane gets it. It knows neither gRPC nor processes.
//
// Invariants, at every release of the lock:
//   1. a live ticket has each unfinished shard in exactly one place: a queue,
//      the suspects, one lane's in-flight table, or a lane's condemned;
//   2. an answered ticket is in no list; its shards may still be in flight,
//      and what comes back for them is dropped.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/lanes/lane_port.h"
#include "broker/lanes/lane_thread.h"
#include "broker/replicas/supervisor.h"
#include "broker/router/admission.h"
#include "broker/router/answer_courier.h"
#include "broker/router/dispatcher.h"
#include "broker/router/live_tickets.h"
#include "broker/router/ready_answers.h"
#include "broker/router/replica_conduct.h"
#include "broker/router/service_rate.h"
#include "broker/router/shard_plan.h"
#include "broker/router/spin_trial.h"
#include "broker/router/ticket.h"

namespace zerohop {

struct RouterOptions {
  uint32_t replicas = 4;
  int cpus = 1;  // that this process may run on
  Policy policy = Policy::kSharedQueue;
  AdmissionLimits admission;
  // From arrival to answer, retries included.
  std::chrono::nanoseconds forward_timeout = std::chrono::seconds(120);
  // New requests still wait this long after the last replica died: the next one is usually up by then.
  std::chrono::nanoseconds replica_grace = std::chrono::seconds(5);
  // How long one pass over the model may take. A replica that does not complete a shard in the passes
  // that this may need hangs, whatever its heartbeat says.
  std::chrono::nanoseconds step_timeout = std::chrono::seconds(60);
  // Whether replicas may stay awake between the turns of a lone client, where that pays.
  bool may_stay_awake = false;
};

// What the router holds now, for people.
struct RouterLoad {
  struct Lane {
    uint32_t shards = 0;  // in flight
    uint64_t tokens = 0;  // estimated, in flight
  };
  uint64_t requests = 0;  // accepted and not answered
  uint64_t waiting_shards = 0;
  std::vector<Lane> lanes;  // by replica
};

class Router final : public LaneObserver, public Reaper {
 public:
  using Clock = std::chrono::steady_clock;
  using Killer = std::function<void(uint32_t replica, uint64_t generation, std::string reason)>;
  static constexpr uint32_t kMaxAttempts = 3;

  Router(const RouterOptions& options, const BrokerBell& bell);

  // Whom to ask to kill a replica that broke the rules. Before the first lane serves.
  void SetKiller(Killer killer) { killer_ = std::move(killer); }

  // Who brings the rows of lanes with a device to the host. Before the first lane serves; outlives the
  // router.
  void SetCopyEngine(CopyEngine* copies) { copies_ = copies; }

  // Who takes the answers that OnBell finds ready to their giver, and places that one. Before the lane thread
  // starts; outlives it, and whoever calls Reap.
  void SetCourier(AnswerCourier* courier) { courier_ = courier; }

  // Takes the ticket; its sink hears the answer, perhaps before this returns. Cancel may be called once this
  // has returned. Whoever submits calls RingReplicas when it has no more to submit for now.
  void Submit(const std::shared_ptr<Ticket>& ticket);
  // Wakes the replicas that got work since the last time.
  void RingReplicas();
  // The client is gone: the answer is kWithdrawn, unless there was one already.
  void Cancel(Ticket& ticket);
  // How many live requests of this id were withdrawn; their answer is kWithdrawn.
  size_t Abort(std::string_view request_id);
  // New requests are refused from here on; what was accepted is finished.
  void BeginLeaving();

  // The served model; null until a replica has served. Changes no more once rows have come back.
  const EngineInfo* model() const {
    // EDGE(model) acquire: the info is complete.
    return model_.load(std::memory_order_acquire);
  }
  // Longest text that is looked at, in bytes; what follows is cut off. Once model() is not null.
  uint64_t max_prompt_bytes() const { return max_prompt_bytes_; }
  bool AcceptsWork() const;
  const AdmissionLimits& limits() const { return admission_->limits(); }
  // Accepted and not answered.
  bool HoldsRequests() const { return admission_->requests() > 0; }
  // The only request in the house is on a lane, and staying awake for its end pays.
  bool PaysToStayAwake() const {
    return pays_to_stay_awake_.load(std::memory_order_relaxed);  // EDGE(quiet) relaxed: a hint alone
  }
  // One client alone sends one request after the other, and replicas may stay awake between them.
  bool HasLoneClient() const {
    return has_lone_client_.load(std::memory_order_relaxed);  // EDGE(quiet) relaxed: a hint alone
  }
  RouterLoad Load() const;

  absl::Status OnServing(uint32_t replica, std::shared_ptr<BrokerLane> lane, const EngineInfo& info,
                         int cpu) override;
  TakenBack OnDoomed(uint32_t replica) override;
  void OnGone(uint32_t replica, const std::string& reason) override;
  // The answers that it finds ready are the courier's.
  void OnBell(Clock::time_point now) override;
  // The same for a thread that gives the answers by itself.
  void Reap(Clock::time_point now);

 private:
  // What is known of one replica beside its lane.
  struct Replica {
    ReplicaConduct conduct;
    bool accused = false;             // this generation
    std::vector<ShardRef> condemned;  // no attempt left; answered when the reason of the death is known
  };
  // What to do once the lock is left.
  struct Effects {
    ReadyAnswers answers;
    Postings postings;
    std::optional<int> cpu;  // of the front thread from here on, where there is a reason to say
    void Perform();
    void RingReplicas() const;
  };

  std::optional<Answer> Admit(Ticket& ticket);
  void ConsiderStayingAwake(Clock::time_point now);
  void DeferRings(Effects* effects);
  void Accept(const std::shared_ptr<Ticket>& ticket, Clock::time_point now, Effects* effects);
  void Enlist(const std::shared_ptr<Ticket>& ticket, Clock::time_point now, Effects* effects);
  void Cut(const std::shared_ptr<Ticket>& ticket, std::span<const ShardRange> plan);
  void CutAgain();
  std::optional<std::string> ComesTooLate(const Ticket& ticket, uint64_t tokens, Clock::time_point now) const;
  Clock::time_point DeadlineOf(const Ticket& ticket) const;
  void PostWaiting(Effects* effects);
  void ReapAll(Clock::time_point now, Effects* effects);
  // Whether anything was finished.
  bool ReapLane(LanePort& port, Effects* effects);
  void JudgeConduct(const LanePort& port, Clock::time_point now);
  // Once in a generation: it will be doomed for it.
  void Accuse(const LanePort& port, std::string reason);
  void Finish(LanePort& port, Finished& finished, Effects* effects);
  void OnWithdrawn(LanePort& port, const ShardRef& shard, Effects* effects);
  void Retry(const ShardRef& shard, const std::string& reason, Effects* effects);
  void AnswerTicket(Ticket& ticket, Answer answer, Effects* effects);
  void Withdraw(Ticket& ticket, Answer answer, Effects* effects);
  void Expire(Ticket& ticket, Effects* effects);
  void ExpireOld(Clock::time_point now, Effects* effects);
  absl::Status AdoptModel(const EngineInfo& info, const LaneGeometry& geometry);
  bool NobodyServes(Clock::time_point now) const;

  const RouterOptions options_;
  const BellRinger bell_;
  const std::shared_ptr<Admission> admission_;  // answers that are being sent still count in it
  Killer killer_;
  CopyEngine* copies_ = nullptr;
  AnswerCourier* courier_ = nullptr;  // null: who finds them gives them
  std::atomic<const EngineInfo*> model_{nullptr};
  uint64_t max_prompt_bytes_ = 0;  // from the lanes' sizes; set once, before model_
  std::atomic<bool> leaving_{false};
  std::atomic<bool> pays_to_stay_awake_{false};
  std::atomic<bool> has_lone_client_{false};

  mutable std::mutex dispatch_;                      // everything below
  std::vector<std::unique_ptr<EngineInfo>> models_;  // the last is served; callers may still look at others
  bool model_proven_ = false;                        // rows have come back
  ShardLimits shard_limits_;
  Dispatcher dispatcher_;
  ServiceRate service_rate_;
  SpinTrial spin_trial_;
  std::vector<Finished> finished_;  // of one Reap; kept for its memory
  bool quiet_ = false;              // the only request in the house, and spinning pays
  LanesToRing to_ring_;             // by RingReplicas
  std::vector<Replica> replicas_;
  Clock::time_point next_judgement_;
  Clock::time_point none_serve_since_ = Clock::time_point::min();
  LiveTickets live_;
};

}  // namespace zerohop

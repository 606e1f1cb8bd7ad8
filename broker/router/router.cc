#include "broker/router/router.h"

#include <sched.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>

#include "shm/row.h"

namespace zerohop {
namespace {

// A replica may hold this many batches: one that runs, the rest to choose from.
constexpr uint64_t kCreditBatches = 4;
constexpr uint64_t kShardBatches = 2;
// Of the time that a request has, what it may be expected to wait; the rest is for what estimates miss.
constexpr double kMostOfItsTime = 0.75;
constexpr std::chrono::milliseconds kBetweenJudgements(50);

Credit CreditFor(const EngineInfo& info) {
  return {std::max<uint64_t>(1, kCreditBatches * info.batch_tokens),
          std::max<uint64_t>(1, kCreditBatches * info.batch_prompts)};
}

int64_t MonotonicNs(std::chrono::steady_clock::time_point t) {
  return t == std::chrono::steady_clock::time_point::max()
             ? 0
             : std::chrono::nanoseconds(t.time_since_epoch()).count();
}

}  // namespace

Router::Router(const RouterOptions& options, const BrokerBell& bell)
    : options_(options),
      bell_(bell.ringer()),
      admission_(std::make_shared<Admission>(options.admission)),
      dispatcher_(options.policy, options.replicas, options.cpus),
      replicas_(options.replicas) {}

void Router::Effects::Perform() {
  RingReplicas();
  answers.Give();
}

void Router::Effects::RingReplicas() const {
  for (const auto& port : postings.to_ring) port->RingReplica();
}

void Router::Submit(const std::shared_ptr<Ticket>& ticket) {
  assert(!ticket->body.prompts.empty());  // the front refuses such requests
  const Clock::time_point now = Clock::now();
  ticket->arrived_at = now;
  if (auto refusal = Admit(*ticket)) {
    std::exchange(ticket->sink, nullptr)->OnAnswer(*std::move(refusal));
    return;
  }
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    ConsiderStayingAwake(now);
    Accept(ticket, now, &effects);
    PostWaiting(&effects);
    // A replica on this very CPU can only run when this thread sleeps.
    // EDGE(quiet) relaxed: a hint alone.
    pays_to_stay_awake_.store(quiet_ && !effects.postings.beside_poster, std::memory_order_relaxed);
    has_lone_client_.store(spin_trial_.HasLoneClient(), std::memory_order_relaxed);
    DeferRings(&effects);
  }
  effects.Perform();
}

void Router::ConsiderStayingAwake(Clock::time_point now) {
  const bool alone = options_.may_stay_awake && admission_->requests() == 1;
  if (!alone) spin_trial_.OnCompany();
  quiet_ = alone && spin_trial_.OnLoneArrival(now);
}

// Waking a replica takes longer than bringing it one more request, so the wakes are left to RingReplicas; a
// replica that is awake sees what is posted at once.
void Router::DeferRings(Effects* effects) {
  if (quiet_) return;
  for (auto& port : effects->postings.to_ring) {
    if (std::find(to_ring_.begin(), to_ring_.end(), port) == to_ring_.end())
      to_ring_.push_back(std::move(port));
  }
  effects->postings.to_ring.clear();
}

void Router::RingReplicas() {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    std::swap(effects.postings.to_ring, to_ring_);
  }
  effects.Perform();
}

// The answer, if the ticket cannot even wait.
std::optional<Answer> Router::Admit(Ticket& ticket) {
  const EngineInfo* info = model();
  if (info == nullptr) return NoneHasStarted();
  const size_t prompts = ticket.body.prompts.size();
  ticket.cost_bytes = prompts * RowBytes(info->dim);
  for (const PromptPlace& prompt : ticket.body.prompts) ticket.cost_bytes += prompt.length;
  auto why = admission_->Enter(prompts, ticket.cost_bytes);
  if (!why) return std::nullopt;
  return Answer{Outcome::kOverloaded, *std::move(why)};
}

void Router::Accept(const std::shared_ptr<Ticket>& ticket, Clock::time_point now, Effects* effects) {
  // EDGE(leaving) relaxed: a flag alone.
  if (leaving_.load(std::memory_order_relaxed)) {
    AnswerTicket(*ticket, {Outcome::kLeaving, "The server is shutting down"}, effects);
  } else if (NobodyServes(now)) {
    AnswerTicket(*ticket, {Outcome::kNoReplica, "No healthy replicas: all of them are down"}, effects);
  } else {
    Enlist(ticket, now, effects);
  }
}

void Router::Enlist(const std::shared_ptr<Ticket>& ticket, Clock::time_point now, Effects* effects) {
  const auto plan =
      PlanShards(ticket->body, models_.back()->max_tokens, dispatcher_.CountIdle(), shard_limits_);
  uint64_t tokens = 0;
  for (const ShardRange& range : plan) tokens += range.tokens;
  if (auto why = ComesTooLate(*ticket, tokens, now)) {
    return AnswerTicket(*ticket, {Outcome::kOverloaded, *std::move(why)}, effects);
  }
  live_.Add(ticket);
  Cut(ticket, plan);
}

void Router::Cut(const std::shared_ptr<Ticket>& ticket, std::span<const ShardRange> plan) {
  const int64_t deadline = MonotonicNs(DeadlineOf(*ticket));
  ticket->shards.clear();
  ticket->shards.reserve(plan.size());
  for (const ShardRange& range : plan) {
    Shard& shard = ticket->shards.emplace_back();
    shard.ticket = ticket.get();
    shard.body = &ticket->body;
    shard.first = range.first;
    shard.count = range.count;
    shard.tokens = range.tokens;
    shard.request_bytes = range.request_bytes;
    shard.deadline_monotonic_ns = deadline;
    shard.priority = ticket->priority;
    shard.stays_on_device = ticket->stays_on_device;
  }
  ticket->rows.clear();
  ticket->rows.resize(plan.size());
  ticket->unfinished = plan.size();
  for (Shard& shard : ticket->shards) dispatcher_.Enqueue(ShardRef(ticket, &shard), /*at_head=*/false);
}

// Another model is served than what the shards were cut for. Nobody serves, and no rows have come back, so
// every one of them waits; with the shards goes what was held against them, which was the liar's doing.
void Router::CutAgain() {
  dispatcher_.DropWaiting();
  for (Replica& replica : replicas_) replica.condemned.clear();
  live_.ForEach([this](const std::shared_ptr<Ticket>& ticket) {
    Cut(ticket, PlanShards(ticket->body, models_.back()->max_tokens, 1, shard_limits_));
  });
}

Router::Clock::time_point Router::DeadlineOf(const Ticket& ticket) const {
  return std::min(ticket.client_deadline, ticket.arrived_at + options_.forward_timeout);
}

// Under overload a queue in order of arrival serves those who have waited longest, whose time is nearly up:
// it would compute for clients that are gone by then. So a request that would wait for most of its time is
// refused now. Why, if so.
std::optional<std::string> Router::ComesTooLate(const Ticket& ticket, uint64_t tokens,
                                                Clock::time_point now) const {
  const auto expected = service_rate_.TimeFor(dispatcher_.TokensAhead(ticket.priority) + tokens);
  const std::chrono::duration<double> left = DeadlineOf(ticket) - now;
  if (!expected || !dispatcher_.IsSaturated() || *expected <= kMostOfItsTime * left) return std::nullopt;
  return fmt::format(
      "The queue is too long: {} requests are accepted, an answer is expected after {:.1f} s, and this "
      "request has {:.1f} s",
      admission_->requests(), expected->count(), std::max(0.0, left.count()));
}

void Router::PostWaiting(Effects* effects) {
  dispatcher_.PostWaiting({::sched_getcpu(), quiet_}, &effects->postings);
  for (const LanePort* port : std::exchange(effects->postings.corrupt, {})) Accuse(*port, port->garbage());
}

void Router::OnBell(Clock::time_point now) {
  Effects effects;
  ReapAll(now, &effects);
  if (courier_ == nullptr) return effects.Perform();
  effects.RingReplicas();
  // Also without answers: a thread that was bound to a CPU is free again where another has become idle, in
  // the end when some time has passed without work.
  courier_->Carry(std::move(effects.answers), effects.cpu.value_or(kAnyCpu));
}

void Router::Reap(Clock::time_point now) {
  Effects effects;
  ReapAll(now, &effects);
  effects.Perform();
  if (effects.cpu && courier_ != nullptr) courier_->Place(*effects.cpu);
}

void Router::ReapAll(Clock::time_point now, Effects* effects) {
  std::lock_guard lock(dispatch_);
  if (copies_ != nullptr && now >= next_judgement_) copies_->Judge(now);
  const LanePort* finished = nullptr;
  for (uint32_t i = 0; i < replicas_.size(); ++i) {
    LanePort* port = dispatcher_.port(i);
    // After garbage it is dying, and nothing of it is believed any more.
    if (port == nullptr || !port->garbage().empty()) continue;
    if (ReapLane(*port, effects)) finished = port;
    if (now >= next_judgement_) JudgeConduct(*port, now);
  }
  if (now >= next_judgement_) next_judgement_ = now + kBetweenJudgements;
  ExpireOld(now, effects);
  PostWaiting(effects);
  if (finished != nullptr) {
    effects->cpu = dispatcher_.CpuForFront(*finished, spin_trial_.HasLoneClient());
  }
  service_rate_.Look(dispatcher_.IsSaturated(), now);
}

bool Router::ReapLane(LanePort& port, Effects* effects) {
  const bool sane = port.Reap(&finished_);
  const bool any = !finished_.empty();
  for (Finished& f : finished_) Finish(port, f, effects);
  finished_.clear();
  if (!sane) Accuse(port, port.garbage());
  return any;
}

void Router::JudgeConduct(const LanePort& port, Clock::time_point now) {
  ReplicaConduct& conduct = replicas_[port.identity().replica].conduct;
  const auto oldest = port.FindOldest();
  conduct.Look(oldest, now);
  if (conduct.IsOverdue(options_.step_timeout, now)) {
    const std::chrono::duration<double> held = conduct.HeldFor(now);
    Accuse(port, fmt::format("hang: a shard of {} prompts is not completed after {:.0f} s", oldest->prompts,
                             held.count()));
  } else if (conduct.FailsAlone()) {
    Accuse(port,
           fmt::format("fails: {} times in a row with what others complete", ReplicaConduct::kMostFailures));
  }
}

void Router::Accuse(const LanePort& port, std::string reason) {
  const LaneIdentity& identity = port.identity();
  if (std::exchange(replicas_[identity.replica].accused, true)) return;
  killer_(identity.replica, identity.generation, std::move(reason));
}

void Router::Finish(LanePort& port, Finished& finished, Effects* effects) {
  const ShardRef& shard = finished.shard;
  Ticket& ticket = *shard->ticket;
  const uint32_t replica = port.identity().replica;
  dispatcher_.OnBack(replica, *shard);
  if (finished.status == CompletionStatus::kOk) service_rate_.OnFinished(shard->tokens);
  if (ticket.answered()) return;
  switch (finished.status) {
    case CompletionStatus::kOk:
      model_proven_ = true;
      replicas_[replica].conduct.OnSuccess();
      if (shard->failed_on != kNobody && shard->failed_on != replica) {
        replicas_[shard->failed_on].conduct.OnFailureDisproved();
      }
      ticket.rows[shard.get() - ticket.shards.data()] = std::move(finished.rows);
      if (--ticket.unfinished > 0) return;
      return AnswerTicket(ticket, {Outcome::kEmbedded, "", models_.back()->dim, std::move(ticket.rows)},
                          effects);
    case CompletionStatus::kRejected:
      return AnswerTicket(
          ticket,
          {Outcome::kInvalid,
           "Prompt " + std::to_string(shard->first + finished.failed_prompt) + ": " + finished.detail},
          effects);
    case CompletionStatus::kFailed:
      shard->failed_on = replica;
      return Retry(shard,
                   "prompt " + std::to_string(shard->first + finished.failed_prompt) + ": " + finished.detail,
                   effects);
    case CompletionStatus::kWithdrawn:
      return OnWithdrawn(port, shard, effects);
  }
}

// Its ticket is not answered, so nobody has withdrawn it: its time is over, or the replica lies.
void Router::OnWithdrawn(LanePort& port, const ShardRef& shard, Effects* effects) {
  Ticket& ticket = *shard->ticket;
  const Clock::time_point now = Clock::now();
  if (ticket.arrived_at + options_.forward_timeout <= now) return Expire(ticket, effects);
  if (shard->deadline_monotonic_ns != 0 && MonotonicNs(now) >= shard->deadline_monotonic_ns) {
    return AnswerTicket(ticket, {Outcome::kExpired, "The deadline passed"}, effects);
  }
  shard->failed_on = port.identity().replica;
  Accuse(port, "garbage: withdrew what it was not asked to");
  Retry(shard, "the replica withdrew what it was not asked to", effects);
}

void Router::Retry(const ShardRef& shard, const std::string& reason, Effects* effects) {
  if (shard->ticket->answered()) return;
  if (shard->attempts < kMaxAttempts) return dispatcher_.Enqueue(shard, /*at_head=*/true);
  AnswerTicket(*shard->ticket,
               {Outcome::kReplicaLost, "Replica failure: " + std::to_string(shard->attempts) +
                                           " attempts failed, the last: " + reason},
               effects);
}

void Router::AnswerTicket(Ticket& ticket, Answer answer, Effects* effects) {
  admission_->Leave(ticket.body.prompts.size());
  AdmittedBytes bytes(admission_,
                      ticket.cost_bytes);  // rows are held until they are sent, the rest goes now
  if (answer.outcome == Outcome::kEmbedded) answer.bytes = std::move(bytes);
  effects->answers.Add(std::exchange(ticket.sink, nullptr), std::move(answer));
  if (ticket.shards.empty()) return;  // never enlisted
  for (Shard& shard : ticket.shards) {
    if (shard.waits_in != nullptr) shard.waits_in->OnAnswered(shard);
  }
  ticket.rows.clear();
  ticket.body = RequestBody();  // shards that still wait are dropped without looking into it
  (void)live_.Remove(ticket);   // the last reference, unless a replica still holds a shard
}

// Answers a ticket that has not come back, and asks replicas not to begin with it.
void Router::Withdraw(Ticket& ticket, Answer answer, Effects* effects) {
  if (ticket.answered()) return;
  for (uint32_t i = 0; i < replicas_.size(); ++i) {
    if (LanePort* port = dispatcher_.port(i)) port->Withdraw(ticket);
  }
  AnswerTicket(ticket, std::move(answer), effects);
}

void Router::Cancel(Ticket& ticket) {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    Withdraw(ticket, {Outcome::kWithdrawn, "The client cancelled the request"}, &effects);
  }
  effects.Perform();
}

size_t Router::Abort(std::string_view request_id) {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    for (const auto& ticket : live_.Find(request_id))
      Withdraw(*ticket, {Outcome::kWithdrawn, "The request was aborted"}, &effects);
  }
  const size_t count = effects.answers.size();
  effects.Perform();
  return count;
}

void Router::BeginLeaving() {
  // EDGE(leaving) relaxed: a flag alone.
  leaving_.store(true, std::memory_order_relaxed);
}

void Router::ExpireOld(Clock::time_point now, Effects* effects) {
  for (;;) {
    const std::shared_ptr<Ticket> oldest = live_.Oldest();  // keeps it while it is answered
    if (oldest == nullptr || now < oldest->arrived_at + options_.forward_timeout) return;
    Expire(*oldest, effects);
  }
}

void Router::Expire(Ticket& ticket, Effects* effects) {
  const std::chrono::duration<double> seconds = options_.forward_timeout;
  Withdraw(ticket,
           {Outcome::kReplicaLost,
            fmt::format("Replica failure: no answer within {} s (--forward-timeout)", seconds.count())},
           effects);
}

absl::Status Router::OnServing(uint32_t replica, std::shared_ptr<BrokerLane> lane, const EngineInfo& info,
                               int cpu) {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    if (absl::Status adopted = AdoptModel(info, lane->geometry()); !adopted.ok()) return adopted;
    CopyEngine* copies = lane->rows_by_device() ? copies_ : nullptr;
    dispatcher_.Open(replica,
                     std::make_shared<LanePort>(std::move(lane), bell_, info, CreditFor(info), cpu, copies));
    replicas_[replica].conduct = ReplicaConduct();
    replicas_[replica].accused = false;
    PostWaiting(&effects);
  }
  effects.Perform();
  return absl::OkStatus();
}

// The first replica says what is served, and the others must agree; but as long as no rows have come back,
// and nobody serves, its word is not more than that of the next.
absl::Status Router::AdoptModel(const EngineInfo& info, const LaneGeometry& geometry) {
  if (RowBytes(info.dim) > geometry.response_arena_bytes / 8) {
    return absl::InvalidArgumentError("an embedding of " + std::to_string(info.dim) +
                                      " floats is too large for the response arena (--response-arena-mib)");
  }
  if (!models_.empty()) {
    const EngineInfo& served = *models_.back();
    if (served.dim == info.dim && served.vocabulary == info.vocabulary &&
        served.max_tokens == info.max_tokens) {
      return absl::OkStatus();
    }
    if (model_proven_ || dispatcher_.serving() > 0) {
      return absl::InvalidArgumentError(fmt::format(
          "loaded another model: expected dim {}, max_tokens {}, vocabulary {}, got {}, {}, {}", served.dim,
          served.max_tokens, served.vocabulary, info.dim, info.max_tokens, info.vocabulary));
    }
  }
  models_.push_back(std::make_unique<EngineInfo>(info));
  shard_limits_.balanced = LooksAtLoad(options_.policy);
  shard_limits_.tokens = std::max<uint64_t>(1, kShardBatches * info.batch_tokens);
  shard_limits_.request_bytes = geometry.request_arena_bytes / 4;
  shard_limits_.rows = std::min({uint64_t{4096}, geometry.response_arena_bytes / 8 / RowBytes(info.dim),
                                 std::max<uint64_t>(1, kShardBatches * info.batch_prompts)});
  if (max_prompt_bytes_ == 0) max_prompt_bytes_ = shard_limits_.request_bytes;
  if (models_.size() > 1) CutAgain();
  // EDGE(model) release: the info is complete.
  model_.store(models_.back().get(), std::memory_order_release);
  return absl::OkStatus();
}

// The replica ends. What it had committed counts; the rest goes back to the head of the queue, from where
// idle lanes take it at once. Its memory stays as it is until its exit was seen; nothing of it is read again.
TakenBack Router::OnDoomed(uint32_t replica) {
  Effects effects;
  TakenBack work;
  {
    std::lock_guard lock(dispatch_);
    LanePort* port = dispatcher_.port(replica);
    if (port == nullptr) return work;
    replicas_[replica].accused = true;  // it ends already, whatever is found below
    std::vector<Finished> finished;
    std::vector<Orphan> orphans;
    port->Abandon(&finished, &orphans);
    for (Finished& f : finished) Finish(*port, f, &effects);
    to_ring_.erase(std::remove_if(to_ring_.begin(), to_ring_.end(),
                                  [&](const auto& other) { return other.get() == port; }),
                   to_ring_.end());
    dispatcher_.Close(replica);
    if (dispatcher_.serving() == 0) none_serve_since_ = Clock::now();
    // Youngest first, each to the head: the oldest ends up foremost.
    for (auto orphan = orphans.rbegin(); orphan != orphans.rend(); ++orphan) {
      const ShardRef& shard = orphan->shard;
      shard->suspect |= orphan->taken && !orphan->complete;
      shard->attempts -= !orphan->taken;  // that death was none of its doing
      if (shard->ticket->answered()) continue;
      if (shard->attempts < kMaxAttempts) {
        dispatcher_.Enqueue(shard, /*at_head=*/true);
      } else {
        replicas_[replica].condemned.push_back(shard);
      }
    }
    PostWaiting(&effects);
    work = {finished.size(), orphans.size(), effects.postings.shards};
  }
  effects.Perform();
  return work;
}

void Router::OnGone(uint32_t replica, const std::string& reason) {
  (void)OnDoomed(replica);  // no effect where it was doomed before
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    for (const ShardRef& shard : std::exchange(replicas_[replica].condemned, {})) {
      Retry(shard, "the replica died: " + reason, &effects);
    }
  }
  effects.Perform();
}

bool Router::NobodyServes(Clock::time_point now) const {
  return dispatcher_.serving() == 0 &&
         (none_serve_since_ == Clock::time_point::min() || now - none_serve_since_ > options_.replica_grace);
}

bool Router::AcceptsWork() const {
  std::lock_guard lock(dispatch_);
  return !NobodyServes(Clock::now());
}

RouterLoad Router::Load() const {
  std::lock_guard lock(dispatch_);
  RouterLoad load;
  load.requests = admission_->requests();
  load.waiting_shards = dispatcher_.CountWaiting();
  for (uint32_t i = 0; i < replicas_.size(); ++i) {
    const LanePort* port = dispatcher_.port(i);
    load.lanes.push_back(port != nullptr
                             ? RouterLoad::Lane{port->shards_in_flight(), port->tokens_in_flight()}
                             : RouterLoad::Lane{});
  }
  return load;
}

}  // namespace zerohop

#include "broker/router/router.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>

#include "shm/row.h"

namespace zerohop {
namespace {

// A replica may hold this many batches: one that runs, the rest to choose like lengths from.
constexpr uint64_t kCreditBatches = 4;
constexpr uint64_t kShardBatches = 2;

int64_t MonotonicNs(std::chrono::steady_clock::time_point t) {
  return t == std::chrono::steady_clock::time_point::max()
             ? 0
             : std::chrono::nanoseconds(t.time_since_epoch()).count();
}

}  // namespace

Router::Router(const RouterOptions& options, const BrokerBell& bell)
    : options_(options),
      bell_(bell.ringer()),
      attendant_(bell.attendant()),
      admission_(std::make_shared<Admission>(options.admission)),
      placement_(options.policy),
      lanes_(options.replicas) {}

void Router::Effects::Perform() {
  for (const auto& port : rings) port->RingReplica();
  for (auto& [sink, answer] : answers) sink->OnAnswer(std::move(answer));
}

void Router::Submit(std::shared_ptr<Ticket> ticket) {
  assert(!ticket->body.prompts.empty());  // the front refuses such requests
  const Clock::time_point now = Clock::now();
  ticket->arrived_at = now;
  if (auto refusal = Admit(*ticket)) {
    std::exchange(ticket->sink, nullptr)->OnAnswer(*std::move(refusal));
    return;
  }
  arrivals_.enqueue(std::move(ticket));
  Effects effects;
  bool attend;
  {
    std::lock_guard lock(dispatch_);
    const bool alone = options_.attend.count() > 0 && admission_->requests() == 1;
    if (!alone) spin_trial_.OnCompany();
    quiet_ = attend = alone && spin_trial_.OnLoneArrival(now);
    TakeArrivals(now, &effects);
    PostWaiting(&effects);
  }
  effects.Perform();
  // Its answer may be back before the lane thread could wake.
  if (attend && attendant_.Attend(options_.attend)) Reap(Clock::now());
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

void Router::TakeArrivals(Clock::time_point now, Effects* effects) {
  std::shared_ptr<Ticket> ticket;
  while (arrivals_.try_dequeue(ticket)) {
    if (ticket->answered()) continue;  // cancelled on its way here
    // EDGE(leaving) relaxed: a flag alone.
    if (leaving_.load(std::memory_order_relaxed)) {
      AnswerTicket(*ticket, {Outcome::kLeaving, "The server is shutting down"}, effects);
    } else if (NobodyServes(now)) {
      AnswerTicket(*ticket, {Outcome::kNoReplica, "No healthy replicas: all of them are down"}, effects);
    } else {
      Enlist(ticket);
    }
  }
}

void Router::Enlist(const std::shared_ptr<Ticket>& ticket) {
  const auto plan = PlanShards(ticket->body, models_.back()->max_tokens, CountIdle(), shard_limits_);
  const int64_t deadline =
      MonotonicNs(std::min(ticket->client_deadline, ticket->arrived_at + options_.forward_timeout));
  ticket->shards.reserve(plan.size());
  for (const ShardRange& range : plan) {
    ticket->shards.push_back({ticket.get(), &ticket->body, range.first, range.count, range.tokens,
                              range.request_bytes, deadline, ticket->priority, 0, kNobody, false});
  }
  ticket->rows.resize(plan.size());
  ticket->unfinished = plan.size();
  live_.push_back(ticket);
  ticket->live = std::prev(live_.end());
  by_id_.emplace(ticket->request_id, ticket.get());
  for (Shard& shard : ticket->shards) Enqueue(ShardRef(ticket, &shard), /*at_head=*/false);
}

void Router::Enqueue(ShardRef shard, bool at_head) {
  if (shard->suspect) {
    at_head ? suspects_.push_front(std::move(shard)) : suspects_.push_back(std::move(shard));
    return;
  }
  const bool late = placement_.policy() == Policy::kSharedQueue || serving_ == 0;
  ShardQueue& queue = late ? shared_ : lanes_[ChooseLane(*shard)].queue;
  at_head ? queue.PushFront(std::move(shard)) : queue.PushBack(std::move(shard));
}

uint32_t Router::ChooseLane(const Shard& shard) {
  std::vector<Candidate> candidates;
  for (uint32_t i = 0; i < lanes_.size(); ++i) {
    if (!lanes_[i].port || Avoided(i, shard)) continue;
    candidates.push_back({i, lanes_[i].port->tokens_in_flight() + lanes_[i].queue.tokens()});
  }
  return placement_.Choose(candidates);
}

// Of the serving lanes that `may` take the work, the one with the least in flight.
template <typename May>
Router::Lane* Router::LeastBusyLane(May may) {
  Lane* best = nullptr;
  for (Lane& lane : lanes_) {
    if (!lane.port || !may(lane)) continue;
    // The first of equals: it is the one whose caches are warm.
    if (best == nullptr || lane.port->tokens_in_flight() < best->port->tokens_in_flight()) best = &lane;
  }
  return best;
}

// Suspects first, then each lane's own queue, then the shared one.
void Router::PostWaiting(Effects* effects) {
  PostSuspects(effects);
  for (Lane& lane : lanes_) {
    lane.no_room = false;
    while (lane.port && lane.port->HasCredit() && PostFront(lane.queue, lane, effects)) {
    }
  }
  while (const ShardRef* front = shared_.Front()) {
    Lane* lane = LeastBusyLane([&](const Lane& candidate) {
      return !candidate.no_room && candidate.port->HasCredit() &&
             !Avoided(candidate.port->identity().replica, **front);
    });
    if (lane == nullptr) break;
    lane->no_room = !PostFront(shared_, *lane, effects);
  }
}

// A suspect runs on a lane that holds nothing else. Half of the lanes at most are given to suspects.
void Router::PostSuspects(Effects* effects) {
  while (!suspects_.empty() && suspects_.front()->ticket->answered()) suspects_.pop_front();
  size_t secluded = 0;
  for (Lane& lane : lanes_) secluded += lane.port && lane.port->seclusion != Seclusion::kNone;
  const size_t most = std::min<size_t>(suspects_.size(), std::max(1u, serving_ / 2));
  for (; secluded < most; ++secluded) {
    Lane* least_busy = LeastBusyLane([](const Lane& lane) {
      return lane.port->seclusion == Seclusion::kNone && lane.port->garbage().empty();
    });
    if (!least_busy) break;
    least_busy->port->seclusion = Seclusion::kEmptying;
  }
  for (Lane& lane : lanes_) {
    if (!lane.port || lane.port->seclusion != Seclusion::kEmptying) continue;
    if (suspects_.empty()) lane.port->seclusion = Seclusion::kNone;  // the one it was meant for is answered
    if (suspects_.empty() || lane.port->shards_in_flight() > 0 || !lane.port->garbage().empty()) continue;
    if (!Post(suspects_.front(), lane, effects)) continue;
    lane.port->seclusion = Seclusion::kSuspectInFlight;
    suspects_.pop_front();
  }
}

bool Router::PostFront(ShardQueue& queue, Lane& lane, Effects* effects) {
  const ShardRef* front = queue.Front();
  if (front == nullptr || !Post(*front, lane, effects)) return false;
  queue.Pop();
  return true;
}

bool Router::Post(const ShardRef& shard, Lane& lane, Effects* effects) {
  switch (lane.port->Post(shard, quiet_)) {
    case PostResult::kPosted:
      ++effects->posted;
      if (effects->rings.empty() || effects->rings.back() != lane.port) effects->rings.push_back(lane.port);
      return true;
    case PostResult::kNoRoom:
      return false;
    case PostResult::kCorrupt:
      Accuse(lane, lane.port->garbage());
      return false;
  }
  return false;
}

// A replica whose engine failed with a shard is not asked again while there is another.
bool Router::Avoided(uint32_t replica, const Shard& shard) const {
  return shard.failed_on == replica && serving_ > 1;
}

void Router::Reap(Clock::time_point now) {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    for (Lane& lane : lanes_) {
      if (!lane.port) continue;
      ReapLane(lane, &effects);
      WatchCompletions(lane, now);
    }
    ExpireOld(now, &effects);
    TakeArrivals(now, &effects);
    PostWaiting(&effects);
  }
  effects.Perform();
}

void Router::ReapLane(Lane& lane, Effects* effects) {
  if (!lane.port->garbage().empty()) return;  // dying; nothing of it is believed any more
  std::vector<Finished> finished;
  const bool sane = lane.port->Reap(&finished);
  for (Finished& f : finished) Finish(lane, f, effects);
  if (!sane) Accuse(lane, lane.port->garbage());
}

// Beats and progress are the replica's own words; completions are checked. Who has work but completes
// nothing does not serve.
void Router::WatchCompletions(Lane& lane, Clock::time_point now) {
  if (lane.port->shards_in_flight() == 0 || lane.port->completed() != lane.completed) {
    lane.completed = lane.port->completed();
    lane.silent_since = now;
  } else if (now - lane.silent_since > options_.completion_timeout && lane.port->garbage().empty()) {
    const std::chrono::duration<double> silent = options_.completion_timeout;
    Accuse(lane, fmt::format("hang: completes none of its {} shards for {} s", lane.port->shards_in_flight(),
                             silent.count()));
    lane.silent_since = now;  // accused once
  }
}

void Router::Accuse(Lane& lane, std::string reason) {
  const LaneIdentity& identity = lane.port->identity();
  killer_(identity.replica, identity.generation, std::move(reason));
}

void Router::Finish(Lane& lane, Finished& finished, Effects* effects) {
  const ShardRef& shard = finished.shard;
  Ticket& ticket = *shard->ticket;
  if (shard->suspect) lane.port->seclusion = Seclusion::kNone;
  if (ticket.answered()) return;
  switch (finished.status) {
    case CompletionStatus::kOk:
      model_proven_ = true;
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
      shard->failed_on = lane.port->identity().replica;
      return Retry(shard,
                   "prompt " + std::to_string(shard->first + finished.failed_prompt) + ": " + finished.detail,
                   effects);
    case CompletionStatus::kWithdrawn: {
      const Clock::time_point now = Clock::now();
      if (ticket.arrived_at + options_.forward_timeout <= now) return Expire(ticket, effects);
      if (shard->deadline_monotonic_ns != 0 && MonotonicNs(now) >= shard->deadline_monotonic_ns) {
        return AnswerTicket(ticket, {Outcome::kWithdrawn, "The deadline passed"}, effects);
      }
      return Retry(shard, "the replica withdrew what it was not asked to", effects);
    }
  }
}

void Router::Retry(const ShardRef& shard, const std::string& reason, Effects* effects) {
  if (shard->ticket->answered()) return;
  if (shard->attempts < kMaxAttempts) return Enqueue(shard, /*at_head=*/true);
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
  effects->answers.emplace_back(std::exchange(ticket.sink, nullptr), std::move(answer));
  if (ticket.shards.empty()) return;  // never enlisted
  ticket.rows.clear();
  ticket.body = RequestBody();  // shards that still wait are dropped without looking into it
  auto [entry, end] = by_id_.equal_range(ticket.request_id);
  while (entry != end && entry->second != &ticket) ++entry;
  by_id_.erase(entry);
  live_.erase(ticket.live);  // the last reference, unless a replica still holds a shard
}

// Answers a ticket that has not come back, and asks replicas not to begin with it.
void Router::Withdraw(Ticket& ticket, Answer answer, Effects* effects) {
  if (ticket.answered()) return;
  for (Lane& lane : lanes_) {
    if (lane.port) lane.port->Withdraw(ticket);
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
    auto [first, last] = by_id_.equal_range(request_id);
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (auto entry = first; entry != last; ++entry) tickets.push_back(*entry->second->live);
    for (const auto& ticket : tickets)
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
  while (!live_.empty() && live_.front()->arrived_at + options_.forward_timeout <= now) {
    const std::shared_ptr<Ticket> ticket = live_.front();  // keeps it while it is answered
    Expire(*ticket, effects);
  }
}

void Router::Expire(Ticket& ticket, Effects* effects) {
  const std::chrono::duration<double> seconds = options_.forward_timeout;
  Withdraw(ticket,
           {Outcome::kReplicaLost,
            fmt::format("Replica failure: no answer within {} s (--forward-timeout)", seconds.count())},
           effects);
}

absl::Status Router::OnServing(uint32_t replica, std::shared_ptr<BrokerLane> lane, const EngineInfo& info) {
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    if (absl::Status adopted = AdoptModel(info, lane->geometry()); !adopted.ok()) return adopted;
    Lane& mine = lanes_[replica];
    mine.port = std::make_shared<LanePort>(std::move(lane), bell_, info,
                                           std::max<uint64_t>(1, kCreditBatches * info.batch_tokens));
    mine.completed = 0;
    mine.silent_since = Clock::now();
    ++serving_;
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
    if (model_proven_ || serving_ > 0) {
      return absl::InvalidArgumentError(fmt::format(
          "loaded another model: expected dim {}, max_tokens {}, vocabulary {}, got {}, {}, {}", served.dim,
          served.max_tokens, served.vocabulary, info.dim, info.max_tokens, info.vocabulary));
    }
  }
  models_.push_back(std::make_unique<EngineInfo>(info));
  shard_limits_.tokens = std::max<uint64_t>(1, kShardBatches * info.batch_tokens);
  shard_limits_.request_bytes = geometry.request_arena_bytes / 4;
  shard_limits_.rows = std::min<uint64_t>(4096, geometry.response_arena_bytes / 8 / RowBytes(info.dim));
  if (max_prompt_bytes_ == 0) max_prompt_bytes_ = shard_limits_.request_bytes;
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
    Lane& lane = lanes_[replica];
    if (!lane.port) return work;
    std::vector<Finished> finished;
    std::vector<Orphan> orphans;
    lane.port->Abandon(&finished, &orphans);
    for (Finished& f : finished) Finish(lane, f, &effects);
    lane.port.reset();
    if (--serving_ == 0) none_serve_since_ = Clock::now();
    // Youngest first, each to the head: the oldest ends up foremost.
    for (auto orphan = orphans.rbegin(); orphan != orphans.rend(); ++orphan) {
      const ShardRef& shard = orphan->shard;
      shard->suspect |= orphan->taken;
      shard->attempts -= !orphan->taken;  // that death was none of its doing
      if (shard->ticket->answered()) continue;
      if (shard->attempts < kMaxAttempts) {
        Enqueue(shard, /*at_head=*/true);
      } else {
        lane.condemned.push_back(shard);
      }
    }
    // What was bound to this lane but not posted finds another.
    while (ShardRef shard = lane.queue.Pop()) Enqueue(std::move(shard), /*at_head=*/false);
    PostWaiting(&effects);
    work = {finished.size(), orphans.size(), effects.posted};
  }
  effects.Perform();
  return work;
}

void Router::OnGone(uint32_t replica, const std::string& reason) {
  (void)OnDoomed(replica);  // no effect where it was doomed before
  Effects effects;
  {
    std::lock_guard lock(dispatch_);
    for (const ShardRef& shard : std::exchange(lanes_[replica].condemned, {})) {
      Retry(shard, "the replica died: " + reason, &effects);
    }
  }
  effects.Perform();
}

bool Router::NobodyServes(Clock::time_point now) const {
  return serving_ == 0 &&
         (none_serve_since_ == Clock::time_point::min() || now - none_serve_since_ > options_.replica_grace);
}

bool Router::AcceptsWork() const {
  std::lock_guard lock(dispatch_);
  return !NobodyServes(Clock::now());
}

uint32_t Router::CountIdle() const {
  uint32_t idle = 0;
  for (const Lane& lane : lanes_)
    idle += lane.port && lane.port->shards_in_flight() == 0 && lane.port->HasCredit();
  return idle;
}

RouterLoad Router::Load() const {
  std::lock_guard lock(dispatch_);
  RouterLoad load;
  load.requests = admission_->requests();
  load.waiting_shards = shared_.size() + suspects_.size();
  for (const Lane& lane : lanes_) {
    load.waiting_shards += lane.queue.size();
    load.lanes.push_back(lane.port
                             ? RouterLoad::Lane{lane.port->shards_in_flight(), lane.port->tokens_in_flight()}
                             : RouterLoad::Lane{});
  }
  return load;
}

}  // namespace zerohop

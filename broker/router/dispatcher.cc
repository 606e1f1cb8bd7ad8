#include "broker/router/dispatcher.h"

#include <algorithm>

#include "broker/router/ticket.h"

namespace zerohop {

void Dispatcher::Open(uint32_t replica, std::shared_ptr<LanePort> port) {
  lanes_[replica].port = std::move(port);
  ++serving_;
}

void Dispatcher::Close(uint32_t replica) {
  Lane& lane = lanes_[replica];
  lane.port.reset();
  --serving_;
  while (ShardRef shard = lane.queue.Pop()) Enqueue(std::move(shard), /*at_head=*/false);
}

uint32_t Dispatcher::CountIdle() const {
  uint32_t idle = 0;
  for (const Lane& lane : lanes_) {
    idle += lane.port && lane.port->shards_in_flight() == 0 && lane.port->HasCredit();
  }
  return idle;
}

void Dispatcher::Enqueue(ShardRef shard, bool at_head) {
  if (shard->suspect) {
    at_head ? suspects_.push_front(std::move(shard)) : suspects_.push_back(std::move(shard));
    return;
  }
  const bool late = placement_.policy() == Policy::kSharedQueue || serving_ == 0;
  ShardQueue& queue = late ? shared_ : lanes_[ChooseLane(*shard)].queue;
  at_head ? queue.PushFront(std::move(shard)) : queue.PushBack(std::move(shard));
}

uint32_t Dispatcher::ChooseLane(const Shard& shard) {
  std::vector<Candidate> candidates;
  for (uint32_t i = 0; i < lanes_.size(); ++i) {
    if (!lanes_[i].port || Avoided(i, shard)) continue;
    candidates.push_back({i, lanes_[i].port->tokens_in_flight() + lanes_[i].queue.tokens()});
  }
  return placement_.Choose(candidates);
}

// A replica whose engine failed with a shard is not asked again while there is another.
bool Dispatcher::Avoided(uint32_t replica, const Shard& shard) const {
  return shard.failed_on == replica && serving_ > 1;
}

// Of the serving lanes that `may` take the work, the one with the least in flight.
template <typename May>
Dispatcher::Lane* Dispatcher::LeastBusyLane(May may) {
  Lane* best = nullptr;
  for (Lane& lane : lanes_) {
    if (!lane.port || !may(lane)) continue;
    // The first of equals: it is the one that is awake, and whose caches are warm.
    if (best == nullptr || lane.port->burden() < best->port->burden()) best = &lane;
  }
  return best;
}

bool Dispatcher::SharesCpu(const Lane& lane, const Poster& poster) {
  return poster.cpu != kAnyCpu && lane.port->cpu() == poster.cpu;
}

// A lane with next to nothing in flight takes a trifle sooner than any other could wake. Of these the one
// whose replica shares the poster's CPU: it runs as soon as the poster sleeps, while another CPU would have
// to be woken, and wake this one. Where both stay awake it is the one that is awake already. And where a
// batch takes longer than all that, it is the one whose caches are warm: with a model it is half as fast
// again.
template <typename May>
Dispatcher::Lane* Dispatcher::LaneFor(const Poster& poster, May may) {
  if (poster.stays_awake) return LeastBusyLane(may);
  for (Lane& lane : lanes_) {
    if (!lane.port || lane.port->TakesLong() || !SharesCpu(lane, poster)) continue;
    if (lane.port->burden() == 0 && may(lane)) return &lane;
  }
  return LeastBusyLane(may);
}

void Dispatcher::PostWaiting(const Poster& poster, Postings* postings) {
  SecludeLanes();
  PostSuspects(poster, postings);
  for (Lane& lane : lanes_) {
    lane.no_room = false;
    while (lane.port && lane.port->HasCredit() && PostFront(lane.queue, lane, poster, postings)) {
    }
  }
  while (const ShardRef* front = shared_.Front()) {
    Lane* lane = LaneFor(poster, [&](const Lane& candidate) {
      return !candidate.no_room && candidate.port->HasCredit() &&
             !Avoided(candidate.port->identity().replica, **front);
    });
    if (lane == nullptr) {
      if (BindElsewhere()) continue;
      break;
    }
    lane->no_room = !PostFront(shared_, *lane, poster, postings);
  }
}

// The first shard avoids the replica that failed with it, and must not hold up those behind it, which need
// not: it is bound to another, and waits for that one. False where it avoids nobody.
bool Dispatcher::BindElsewhere() {
  const uint32_t failed_on = (*shared_.Front())->failed_on;
  if (failed_on == kNobody || serving_ < 2) return false;
  Lane* other = LeastBusyLane([&](const Lane& lane) { return lane.port->identity().replica != failed_on; });
  if (other == nullptr) return false;
  other->queue.PushBack(shared_.Pop());
  return true;
}

// A lane for each suspect that waits, emptied first; in all at most half of the lanes.
void Dispatcher::SecludeLanes() {
  (void)FirstSuspect();  // the answered before it go
  size_t emptying = 0, secluded = 0;
  for (const Lane& lane : lanes_) {
    if (!lane.port) continue;
    emptying += lane.port->seclusion == Seclusion::kEmptying;
    secluded += lane.port->seclusion != Seclusion::kNone;
  }
  const size_t most = std::max(1u, serving_ / 2);
  for (; emptying < suspects_.size() && secluded < most; ++emptying, ++secluded) {
    Lane* least_busy = LeastBusyLane(
        [](const Lane& lane) { return lane.port->seclusion == Seclusion::kNone && lane.port->IsSound(); });
    if (!least_busy) break;
    least_busy->port->seclusion = Seclusion::kEmptying;
  }
}

// Null where none waits. A ticket that was answered has no prompts any more, and its shards are dropped here.
const ShardRef* Dispatcher::FirstSuspect() {
  while (!suspects_.empty() && suspects_.front()->ticket->answered()) suspects_.pop_front();
  return suspects_.empty() ? nullptr : &suspects_.front();
}

void Dispatcher::PostSuspects(const Poster& poster, Postings* postings) {
  for (Lane& lane : lanes_) {
    if (!lane.port || lane.port->seclusion != Seclusion::kEmptying) continue;
    const ShardRef* suspect = FirstSuspect();
    if (suspect == nullptr) lane.port->seclusion = Seclusion::kNone;  // the one it was meant for is answered
    if (suspect == nullptr || lane.port->shards_in_flight() > 0 || !lane.port->IsSound()) continue;
    if (!Post(*suspect, lane, poster, postings)) continue;
    lane.port->seclusion = Seclusion::kSuspectInFlight;
    suspects_.pop_front();
  }
}

bool Dispatcher::PostFront(ShardQueue& queue, Lane& lane, const Poster& poster, Postings* postings) {
  const ShardRef* front = queue.Front();
  if (front == nullptr || !Post(*front, lane, poster, postings)) return false;
  queue.Pop();
  return true;
}

bool Dispatcher::Post(const ShardRef& shard, Lane& lane, const Poster& poster, Postings* postings) {
  switch (lane.port->Post(shard, poster.stays_awake)) {
    case PostResult::kPosted:
      ++postings->shards;
      postings->beside_poster |= SharesCpu(lane, poster);
      if (postings->to_ring.empty() || postings->to_ring.back() != lane.port) {
        postings->to_ring.push_back(lane.port);
      }
      return true;
    case PostResult::kNoRoom:
      return false;
    case PostResult::kCorrupt:
      postings->corrupt.push_back(lane.port.get());
      return false;
  }
  return false;
}

void Dispatcher::OnBack(uint32_t replica, const Shard& shard) {
  if (shard.suspect) lanes_[replica].port->seclusion = Seclusion::kNone;
}

void Dispatcher::DropWaiting() {
  shared_ = ShardQueue();
  for (Lane& lane : lanes_) lane.queue = ShardQueue();
  suspects_.clear();
}

size_t Dispatcher::CountWaiting() const {
  size_t waiting = shared_.size() + suspects_.size();
  for (const Lane& lane : lanes_) waiting += lane.queue.size();
  return waiting;
}

bool Dispatcher::IsSaturated() const {
  if (CountWaiting() > 0) return true;
  return serving() > 0 && std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) {
           return lane.port == nullptr || lane.port->HoldsMoreThanABatch();
         });
}

// The CPUs that the replicas of those lanes are bound to, each once.
template <typename Which>
Dispatcher::Cpus Dispatcher::CpusOf(Which which) const {
  Cpus cpus;
  for (const Lane& lane : lanes_) {
    if (!lane.port || lane.port->cpu() == kAnyCpu || !which(*lane.port)) continue;
    if (std::find(cpus.begin(), cpus.end(), lane.port->cpu()) == cpus.end()) cpus.push_back(lane.port->cpu());
  }
  return cpus;
}

int Dispatcher::CpuForFront(const LanePort& finished, bool lone_client) const {
  if (cpus_ < 2 || finished.cpu() == kAnyCpu) return kAnyCpu;
  if (finished.TakesLong()) {
    const Cpus taken =
        CpusOf([&](const LanePort& port) { return &port == &finished || port.shards_in_flight() > 0; });
    return taken.size() < cpus_ ? kAnyCpu : finished.cpu();
  }
  if (lone_client || cpus_ > 2) return kAnyCpu;
  const Cpus with_replica = CpusOf([](const LanePort&) { return true; });
  return with_replica.size() < cpus_ ? finished.cpu() : kAnyCpu;
}

uint64_t Dispatcher::TokensAhead(int32_t priority) const {
  uint64_t ahead = shared_.TokensAhead(priority);
  for (const Lane& lane : lanes_) {
    ahead += lane.queue.TokensAhead(priority);
    if (lane.port) ahead += lane.port->tokens_in_flight();
  }
  return ahead;
}

}  // namespace zerohop

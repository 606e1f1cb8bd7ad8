#pragma once

// Dispatcher: the lanes that serve, the shards that wait for one, and which of
// them goes where, when.
//
// shared_queue binds late: shards wait in one queue, and a lane with credit
// takes the next. The other policies bind a shard to a lane at once. Suspects,
// begun by a replica that died, wait apart: each runs on a lane that holds
// nothing else, so that one that kills cannot take innocents with it.
// Guarded by the dispatch lock. It knows no tickets' fates: Router does.

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "broker/lanes/lane_port.h"
#include "broker/router/placement.h"
#include "broker/router/shard_queue.h"

namespace zerohop {

// The thread that posts.
struct Poster {
  int cpu = kAnyCpu;         // that it runs on
  bool stays_awake = false;  // until the answer comes, as may the replica
};

using LanesToRing = absl::InlinedVector<std::shared_ptr<LanePort>, 2>;

// What a turn of posting has done.
struct Postings {
  size_t shards = 0;
  LanesToRing to_ring;             // once the lock is left
  std::vector<LanePort*> corrupt;  // their replicas broke the rules
  bool beside_poster = false;      // a replica that got work shares the poster's CPU
};

class Dispatcher {
 public:
  // `cpus`: how many this process may run on.
  Dispatcher(Policy policy, uint32_t replicas, int cpus)
      : placement_(policy), lanes_(replicas), cpus_(static_cast<size_t>(cpus)) {}

  void Open(uint32_t replica, std::shared_ptr<LanePort> port);
  // What was bound to the lane, but not posted, finds another.
  void Close(uint32_t replica);
  // Null where nobody serves.
  LanePort* port(uint32_t replica) const { return lanes_[replica].port.get(); }
  uint32_t serving() const { return serving_; }
  uint32_t CountIdle() const;

  void Enqueue(ShardRef shard, bool at_head);
  // Suspects first, then each lane's own queue, then the shared one.
  void PostWaiting(const Poster& poster, Postings* postings);
  // A shard came back from its lane: a suspect sets the lane free.
  void OnBack(uint32_t replica, const Shard& shard);

  // Forgets all that waits.
  void DropWaiting();

  size_t CountWaiting() const;
  // Whether more work is in the house than all replicas can run at once.
  bool IsSaturated() const;
  // The CPU that a front thread had best be on, now that the replica of `finished` has completed work;
  // kAnyCpu where it may be anywhere, or that is not known. Of engines whose batches take long: where every
  // CPU computes, that replica's, which lies between two passes. Who has work in flight counts as computing.
  // Of the others, of two CPUs of which one has no replica: the one that has. From there work is handed over
  // with a switch, and not with the wake of another CPU. With a `lone_client` the replica may stay awake
  // there, and needs it for itself. On more CPUs that has not been measured, and is not done.
  int CpuForFront(const LanePort& finished, bool lone_client) const;
  // Tokens that are in flight, or served before a new shard of this priority.
  uint64_t TokensAhead(int32_t priority) const;

 private:
  struct Lane {
    std::shared_ptr<LanePort> port;  // null: nobody serves
    ShardQueue queue;                // policies that bind at once
    bool no_room = false;            // for what this turn tried to post
  };

  uint32_t ChooseLane(const Shard& shard);
  bool Avoided(uint32_t replica, const Shard& shard) const;
  template <typename May>
  Lane* LeastBusyLane(May may);
  void SecludeLanes();
  bool BindElsewhere();
  const ShardRef* FirstSuspect();
  static bool SharesCpu(const Lane& lane, const Poster& poster);
  using Cpus = absl::InlinedVector<int, 16>;
  template <typename Which>
  Cpus CpusOf(Which which) const;
  template <typename May>
  Lane* LaneFor(const Poster& poster, May may);
  void PostSuspects(const Poster& poster, Postings* postings);
  bool PostFront(ShardQueue& queue, Lane& lane, const Poster& poster, Postings* postings);
  static bool Post(const ShardRef& shard, Lane& lane, const Poster& poster, Postings* postings);

  Placement placement_;
  std::vector<Lane> lanes_;  // by replica
  const size_t cpus_;
  uint32_t serving_ = 0;
  ShardQueue shared_;
  std::deque<ShardRef> suspects_;
};

}  // namespace zerohop

#pragma once

// ShardQueue: shards that wait, by priority, then by age. A shard that comes
// back (its replica died) goes to the head of its priority: it has waited longest.
// Shards of tickets that were answered meanwhile count no more, and are dropped on
// the way out, or when they are more than those that wait.
// Guarded by the dispatch lock.

#include <cstdint>
#include <deque>
#include <map>

#include "broker/lanes/shard.h"

namespace zerohop {

class ShardQueue {
 public:
  void PushBack(ShardRef shard);
  void PushFront(ShardRef shard);
  // The next to serve, or null. Pop removes it.
  const ShardRef* Front();
  ShardRef Pop();
  // The ticket of a shard that waits here has been answered.
  void OnAnswered(Shard& shard);
  // What waits and is not answered.
  size_t size() const { return size_; }
  uint64_t tokens() const { return tokens_; }
  // Of these, what is served before a new shard of `priority`.
  uint64_t TokensAhead(int32_t priority) const;

 private:
  struct Level {
    std::deque<ShardRef> shards;  // in the order of service
    uint64_t tokens = 0;          // of those that are not answered
    size_t answered = 0;
  };

  Level& LevelFor(Shard& shard);
  void Uncount(Shard& shard, Level& level);
  void Remove(Level& level);

  std::map<int32_t, Level> by_priority_;  // lower first
  size_t size_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace zerohop

#include "broker/router/shard_queue.h"

#include "broker/router/ticket.h"

namespace zerohop {

void ShardQueue::PushBack(ShardRef shard) {
  ++size_;
  tokens_ += shard->tokens;
  by_priority_[shard->priority].push_back(std::move(shard));
}

void ShardQueue::PushFront(ShardRef shard) {
  ++size_;
  tokens_ += shard->tokens;
  by_priority_[shard->priority].push_front(std::move(shard));
}

const ShardRef* ShardQueue::Front() {
  for (auto level = by_priority_.begin(); level != by_priority_.end();) {
    auto& shards = level->second;
    while (!shards.empty() && shards.front()->ticket->answered()) Remove(shards);
    if (!shards.empty()) return &shards.front();
    // Priority 0 is in use all the time; others go, so that clients cannot fill the map.
    level = level->first == 0 ? std::next(level) : by_priority_.erase(level);
  }
  return nullptr;
}

ShardRef ShardQueue::Pop() {
  const ShardRef* front = Front();
  if (front == nullptr) return nullptr;
  ShardRef shard = *front;
  Remove(by_priority_[shard->priority]);
  return shard;
}

void ShardQueue::Remove(std::deque<ShardRef>& shards) {
  --size_;
  tokens_ -= shards.front()->tokens;
  shards.pop_front();
}

}  // namespace zerohop

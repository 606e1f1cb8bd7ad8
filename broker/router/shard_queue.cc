#include "broker/router/shard_queue.h"

#include "broker/router/ticket.h"

namespace zerohop {
namespace {

// Answered shards that may lie about, beside as many as half of all.
constexpr size_t kMostAnswered = 64;

}  // namespace

void ShardQueue::PushBack(ShardRef shard) {
  LevelFor(*shard).shards.push_back(std::move(shard));
}

void ShardQueue::PushFront(ShardRef shard) {
  LevelFor(*shard).shards.push_front(std::move(shard));
}

// Counts the shard, which is about to be pushed.
ShardQueue::Level& ShardQueue::LevelFor(Shard& shard) {
  shard.waits_in = this;
  ++size_;
  tokens_ += shard.tokens;
  Level& level = by_priority_[shard.priority];
  level.tokens += shard.tokens;
  return level;
}

const ShardRef* ShardQueue::Front() {
  for (auto entry = by_priority_.begin(); entry != by_priority_.end();) {
    Level& level = entry->second;
    while (!level.shards.empty() && level.shards.front()->ticket->answered()) Remove(level);
    if (!level.shards.empty()) return &level.shards.front();
    // Priority 0 is in use all the time; others go, so that clients cannot fill the map.
    entry = entry->first == 0 ? std::next(entry) : by_priority_.erase(entry);
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

uint64_t ShardQueue::TokensAhead(int32_t priority) const {
  uint64_t tokens = 0;
  for (const auto& [other, level] : by_priority_) {
    if (other > priority) break;
    tokens += level.tokens;
  }
  return tokens;
}

void ShardQueue::OnAnswered(Shard& shard) {
  Level& level = by_priority_[shard.priority];
  Uncount(shard, level);
  if (++level.answered <= kMostAnswered + level.shards.size() / 2) return;
  std::erase_if(level.shards, [](const ShardRef& other) { return other->ticket->answered(); });
  level.answered = 0;
}

void ShardQueue::Uncount(Shard& shard, Level& level) {
  shard.waits_in = nullptr;
  --size_;
  tokens_ -= shard.tokens;
  level.tokens -= shard.tokens;
}

void ShardQueue::Remove(Level& level) {
  Shard& shard = *level.shards.front();
  shard.waits_in != nullptr ? Uncount(shard, level) : (void)--level.answered;
  level.shards.pop_front();
}

}  // namespace zerohop

#include "broker/router/shard_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/test_call.h"

namespace zerohop {
namespace {

// Shards by number, each of a ticket of its own.
class ShardQueueTest : public testing::Test {
 protected:
  ShardRef NewShard(int32_t priority = 0, uint64_t tokens = 1) {
    TestCall& call = *calls.emplace_back(std::make_unique<TestCall>(std::vector<std::string>{"x"}));
    auto shard = std::make_shared<Shard>();
    shard->ticket = call.ticket().get();
    shard->priority = priority;
    shard->tokens = tokens;
    shard->first = static_cast<uint32_t>(calls.size() - 1);
    return shard;
  }
  std::vector<uint32_t> PopAll() {
    std::vector<uint32_t> order;
    while (ShardRef shard = queue.Pop()) order.push_back(shard->first);
    return order;
  }
  static void MarkAnswered(const ShardRef& shard) { shard->ticket->sink = nullptr; }

  std::vector<std::unique_ptr<TestCall>> calls;
  ShardQueue queue;
};

TEST_F(ShardQueueTest, EmptyQueueHasNoFront) {
  EXPECT_EQ(queue.Front(), nullptr);
  EXPECT_EQ(queue.Pop(), nullptr);
}

TEST_F(ShardQueueTest, LowerPriorityFirstThenAge) {
  for (int32_t priority : {3, 0, -2, 3, 0, -2}) queue.PushBack(NewShard(priority));
  EXPECT_EQ(PopAll(), std::vector<uint32_t>({2, 5, 1, 4, 0, 3}));
}

TEST_F(ShardQueueTest, ReturnedShardGoesToTheHeadOfItsPriorityOnly) {
  queue.PushBack(NewShard(0));
  queue.PushBack(NewShard(-1));
  queue.PushFront(NewShard(0));
  EXPECT_EQ(PopAll(), std::vector<uint32_t>({1, 2, 0}));
}

TEST_F(ShardQueueTest, FrontIsWhatPopRemoves) {
  queue.PushBack(NewShard());
  const ShardRef* front = queue.Front();
  ASSERT_NE(front, nullptr);
  const Shard* shard = front->get();
  EXPECT_EQ(queue.Front()->get(), shard) << "looking changes nothing";
  EXPECT_EQ(queue.Pop().get(), shard);
}

TEST_F(ShardQueueTest, AnsweredShardsAreDroppedOnTheWayOut) {
  std::vector<ShardRef> shards;
  for (int i = 0; i < 5; ++i) queue.PushBack(shards.emplace_back(NewShard(i % 2)));
  for (int i : {0, 1, 3}) MarkAnswered(shards[i]);
  EXPECT_EQ(PopAll(), std::vector<uint32_t>({2, 4}));
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(queue.tokens(), 0u);
}

TEST_F(ShardQueueTest, ShardsKeepTheirTicketAliveNoLongerThanTheyWait) {
  const ShardRef shard = NewShard();
  queue.PushBack(shard);
  EXPECT_EQ(shard.use_count(), 2);
  (void)queue.Pop();
  EXPECT_EQ(shard.use_count(), 1);
}

TEST_F(ShardQueueTest, SizeAndTokensFollowRandomOperations) {
  std::mt19937 random(17);
  std::vector<ShardRef> model;
  uint64_t tokens = 0;
  for (int round = 0; round < 20'000; ++round) {
    if (random() % 2 == 0) {
      ShardRef shard = NewShard(static_cast<int32_t>(random() % 7) - 3, random() % 100);
      tokens += shard->tokens;
      model.push_back(shard);
      random() % 3 == 0 ? queue.PushFront(shard) : queue.PushBack(shard);
    } else if (ShardRef shard = queue.Pop()) {
      tokens -= shard->tokens;
      for (const ShardRef& other : model) ASSERT_GE(other->priority, shard->priority);
      model.erase(std::find(model.begin(), model.end(), shard));
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(queue.tokens(), tokens);
  }
}

}  // namespace
}  // namespace zerohop

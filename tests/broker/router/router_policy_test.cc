// Every policy answers everything, and places as its name says.

#include <gtest/gtest.h>
#include <sched.h>

#include "broker/router/router.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

RouterOptions With(Policy policy) {
  RouterOptions options;
  options.policy = policy;
  return options;
}

class RouterPolicy : public testing::TestWithParam<Policy> {};

TEST_P(RouterPolicy, EverythingIsAnsweredThroughADeath) {
  RouterHouse house(With(GetParam()));
  house.info.batch_tokens = 16;  // little credit: much waits in the queues
  house.Serve(0);
  house.Serve(1);
  std::vector<TestCall*> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(&house.Submit(NumberedPrompts(1 + i % 7)));
  house.replica(0).TakeOne();
  house.Die(0);
  for (int i = 0; i < 5; ++i) calls.push_back(&house.Submit(NumberedPrompts(3)));
  house.Settle();
  for (TestCall* call : calls) EXPECT_EMBEDDED(*call);
  EXPECT_EQ(house.router().Load().waiting_shards, 0u);
}

TEST_P(RouterPolicy, WorkThatWaitedThroughAnOutageIsAnswered) {
  RouterHouse house(With(GetParam()));
  house.Serve(0);
  TestCall& before = house.Submit({"before"});
  house.Die(0);
  TestCall& during = house.Submit({"during"});
  house.Serve(1);
  house.Settle();
  EXPECT_EMBEDDED(before);
  EXPECT_EMBEDDED(during);
}

TEST_P(RouterPolicy, ManyRequestsReachEveryReplica) {
  RouterHouse house(With(GetParam()));
  for (uint32_t i = 0; i < 3; ++i) house.Serve(i);
  for (int i = 0; i < 30; ++i) house.Submit({"request " + std::to_string(i)});
  for (uint32_t i = 0; i < 3; ++i) EXPECT_FALSE(house.replica(i).TakeAll().empty()) << i;
}

INSTANTIATE_TEST_SUITE_P(Each, RouterPolicy,
                         testing::Values(Policy::kSharedQueue, Policy::kRoundRobin, Policy::kLeastLoaded,
                                         Policy::kRandom, Policy::kPowerOfTwo),
                         [](const auto& one) { return std::string(Name(one.param)); });

// This thread stays on one CPU.
class PinnedHere {
 public:
  PinnedHere() : cpu_(::sched_getcpu()) {
    EXPECT_EQ(::sched_getaffinity(0, sizeof before_, &before_), 0);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(cpu_, &here);
    EXPECT_EQ(::sched_setaffinity(0, sizeof here, &here), 0);
  }
  ~PinnedHere() { ::sched_setaffinity(0, sizeof before_, &before_); }
  PinnedHere(const PinnedHere&) = delete;
  int cpu() const { return cpu_; }

 private:
  const int cpu_;
  cpu_set_t before_;
};

// A wake of another CPU takes longer than the switch to a replica on this one.
TEST(RouterPolicies, SharedQueuePrefersAnIdleReplicaOnThisCpu) {
  const PinnedHere here;
  RouterHouse house(With(Policy::kSharedQueue));
  house.Serve(0, here.cpu() + 1);
  house.Serve(1, kAnyCpu);
  house.Serve(2, here.cpu());
  house.Submit({"first"});
  EXPECT_EQ(house.replica(2).TakeAll().size(), 1u);
  house.Submit({"second"});
  EXPECT_EQ(house.replica(2).TakeAll().size(), 0u) << "it is not idle any more";
  EXPECT_EQ(house.replica(0).TakeAll().size(), 1u);
}

// What a batch of a model has in the caches, the same replica finds there again.
TEST(RouterPolicies, SharedQueuePrefersTheReplicaThatIsWarmWhereBatchesTakeLong) {
  const PinnedHere here;
  RouterHouse house(With(Policy::kSharedQueue));
  house.Serve(0, here.cpu() + 1);
  house.Serve(1, here.cpu());
  for (int i = 0; i < 2; ++i) house.Submit({"both have shown that they take long"});
  for (uint32_t i = 0; i < 2; ++i) house.replica(i).AnswerOne(std::chrono::milliseconds(10));
  house.Reap();
  for (int i = 0; i < 3; ++i) {
    house.Submit({"one at a time"});
    EXPECT_EQ(house.replica(0).AnswerAll(), 1u);
    house.Reap();
  }
}

TEST(RouterPolicies, RoundRobinTakesTurns) {
  RouterHouse house(With(Policy::kRoundRobin));
  for (uint32_t i = 0; i < 3; ++i) house.Serve(i);
  for (int i = 0; i < 9; ++i) house.Submit({"x"});
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(house.replica(i).TakeAll().size(), 3u);
}

TEST(RouterPolicies, LeastLoadedFollowsWorkInFlightNotHistory) {
  RouterHouse house(With(Policy::kLeastLoaded));
  house.Serve(0);
  house.Serve(1);
  for (int i = 0; i < 5; ++i) {
    house.Submit({"x"});
    EXPECT_EQ(house.Settle(), 1u);
  }
  house.Submit(NumberedPrompts(8));  // both idle again: to the first
  house.Submit({"small"});           // to the other
  house.Submit({"small"});           // still the lighter one
  EXPECT_EQ(house.replica(0).TakeAll().size(), 1u);
  EXPECT_EQ(house.replica(1).TakeAll().size(), 2u);
}

TEST(RouterPolicies, SharedQueueBindsLate) {
  RouterHouse house;
  house.info.batch_tokens = 1;  // one shard in flight each
  house.Serve(0);
  house.Serve(1);
  for (int i = 0; i < 6; ++i) house.Submit({"a prompt of some length"});
  // Lane 0 is stuck; lane 1 serves all the rest.
  size_t served = 0;
  for (size_t some = 1; some > 0; served += some) {
    some = house.replica(1).AnswerAll();
    house.Reap();
  }
  EXPECT_EQ(served, 5u);
}

}  // namespace
}  // namespace zerohop

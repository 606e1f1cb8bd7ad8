// What the lane thread, or a front thread, finds ready: who gives it, and on which CPU.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using testing::ElementsAre;

constexpr std::chrono::milliseconds kLong(8);
constexpr std::chrono::microseconds kTrifle(3);

class RouterCourierTest : public ::testing::Test, public AnswerCourier {
 protected:
  static constexpr int kCpus = 2;

  static RouterOptions Options(int cpus = kCpus) {
    RouterOptions options;
    options.cpus = cpus;
    return options;
  }
  RouterCourierTest() { house_.router().SetCourier(this); }
  ~RouterCourierTest() override { house_.router().SetCourier(nullptr); }

  void Carry(ReadyAnswers answers, int cpu) override {
    carried_ = answers.size();
    cpus_.push_back(cpu);
    answers.Give();
  }
  void Place(int cpu) override { places_.push_back(cpu); }
  void OnBell() { house_.router().OnBell(Router::Clock::now()); }
  // `replica` completes a shard, which took so long, while all else goes on.
  void Complete(uint32_t replica, std::chrono::nanoseconds busy) {
    house_.replica(replica).AnswerOne(busy);
    OnBell();
  }
  // One request, and its answer, taken off by a front thread. Where it was sent by that.
  std::vector<int> TurnOfAClient(RouterHouse& house) {
    house.Submit({"x"});
    house.replica(0).AnswerOne(kTrifle);
    house.Reap();
    return std::exchange(places_, {});
  }
  // Each of two replicas has been seen to take long, and holds a shard.
  void Occupy(int first_cpu, int second_cpu) {
    house_.Serve(0, first_cpu);
    house_.Serve(1, second_cpu);
    for (uint32_t replica = 0; replica < 2; ++replica) house_.Submit({"x"});
    for (uint32_t replica = 0; replica < 2; ++replica) Complete(replica, kLong);
    for (uint32_t replica = 0; replica < 2; ++replica) house_.Submit({"x"});
    cpus_.clear();
  }

  std::vector<int> cpus_;    // of each hand-over
  std::vector<int> places_;  // that a front thread was sent to by itself
  size_t carried_ = 0;       // answers, of the last
  RouterHouse house_{Options()};
};

TEST_F(RouterCourierTest, WhileAllOthersComputeAnswersAreGivenOnTheCpuOfTheReplicaThatHasFinished) {
  Occupy(6, 7);
  Complete(1, kLong);
  house_.Submit({"x"});
  Complete(0, kLong);
  EXPECT_THAT(cpus_, ElementsAre(7, 6));
}

TEST_F(RouterCourierTest, WorkThatWaitedForTheReplicaChangesNothing) {
  Occupy(6, 7);
  while (house_.router().Load().waiting_shards == 0) house_.Submit({"x"});
  Complete(1, kLong);
  EXPECT_EQ(house_.router().Load().waiting_shards, 0u);
  EXPECT_THAT(cpus_, ElementsAre(7));
}

TEST_F(RouterCourierTest, ACompletionThatAnswersNobodyMovesTheGiver) {
  Occupy(6, 7);
  TestCall& call = house_.Submit({"x"});
  Complete(1, kLong);
  house_.router().Cancel(*call.ticket());
  Complete(0, kLong);
  Complete(0, kLong);
  EXPECT_EQ(carried_, 0u);
  EXPECT_THAT(cpus_, ElementsAre(7, kAnyCpu, kAnyCpu));
}

TEST_F(RouterCourierTest, WhenNothingHappensForAWhileTheGiverIsFree) {
  Occupy(6, 7);
  Complete(1, kLong);
  OnBell();
  EXPECT_THAT(cpus_, ElementsAre(7, kAnyCpu));
}

TEST_F(RouterCourierTest, OnASingleCpuThereIsNowhereToGo) {
  RouterHouse small(Options(1));
  small.router().SetCourier(this);
  small.Serve(0, 6);
  small.Submit({"x"});
  small.replica(0).AnswerOne(kLong);
  small.router().OnBell(Router::Clock::now());
  EXPECT_THAT(cpus_, ElementsAre(kAnyCpu));
}

TEST_F(RouterCourierTest, WhileAnotherReplicaHasNothingToDoThereIsRoomAnywhere) {
  Occupy(6, 7);
  Complete(1, kLong);
  Complete(0, kLong);  // 1 is idle now
  EXPECT_THAT(cpus_, ElementsAre(7, kAnyCpu));
}

TEST_F(RouterCourierTest, ReplicasThatShareACpuLeaveTheOther) {
  Occupy(6, 6);
  Complete(0, kLong);
  EXPECT_THAT(cpus_, ElementsAre(kAnyCpu));
}

TEST_F(RouterCourierTest, ForAReplicaThatIsNotBoundNoCpuIsKnown) {
  Occupy(kAnyCpu, 7);
  Complete(0, kLong);
  EXPECT_THAT(cpus_, ElementsAre(kAnyCpu));
}

TEST_F(RouterCourierTest, TriflesAreHandedOverFromACpuThatHasAReplica) {
  house_.Serve(0, 6);
  EXPECT_THAT(TurnOfAClient(house_), ElementsAre(6));
  house_.Submit({"x"});
  Complete(0, kTrifle);
  EXPECT_THAT(cpus_, ElementsAre(6)) << "and so says the lane thread";
}

TEST_F(RouterCourierTest, BesideALoneClientWhoseReplicaMayStayAwakeTheFrontThreadIsFree) {
  RouterOptions options = Options();
  options.may_stay_awake = true;
  RouterHouse quiet(options);
  quiet.router().SetCourier(this);
  quiet.Serve(0, 6);
  EXPECT_THAT(TurnOfAClient(quiet), ElementsAre(6)) << "nothing is known of the clients";
  for (int i = 0; i < 100; ++i) (void)TurnOfAClient(quiet);
  EXPECT_THAT(TurnOfAClient(quiet), ElementsAre(kAnyCpu));
  quiet.Submit({"x"});
  EXPECT_THAT(TurnOfAClient(quiet), ElementsAre(6)) << "another came";
}

TEST_F(RouterCourierTest, OnThreeCpusTriflesAreHandedOverFromAnywhere) {
  RouterHouse larger(Options(3));
  larger.router().SetCourier(this);
  larger.Serve(0, 6);
  EXPECT_THAT(TurnOfAClient(larger), ElementsAre(kAnyCpu));
}

TEST_F(RouterCourierTest, AFrontThreadThatTakesOffALongPassGoesWhereTheLaneThreadWouldSendIt) {
  Occupy(6, 7);
  house_.replica(1).AnswerOne(kLong);
  house_.Reap();
  EXPECT_THAT(places_, ElementsAre(7));
}

TEST_F(RouterCourierTest, WhereEveryCpuHasAReplicaATrifleIsNotWorthAMove) {
  house_.Serve(0, 6);
  house_.Serve(1, 7);
  for (uint32_t replica = 0; replica < 2; ++replica) house_.Submit({"x"});
  for (uint32_t replica = 0; replica < 2; ++replica) Complete(replica, kTrifle);
  cpus_.clear();
  // The first takes trifles up to a bound, the second the next.
  for (uint32_t i = 0; i <= LanePort::kMostTrifles; ++i) house_.Submit({"x"});
  ASSERT_TRUE(house_.replica(1).lane().HasSubmission());
  Complete(0, kTrifle);
  EXPECT_THAT(cpus_, ElementsAre(kAnyCpu));
}

TEST_F(RouterCourierTest, AnswersThatAreReadyTogetherAreCarriedTogether) {
  house_.Serve(0);
  std::vector<TestCall*> calls;
  for (int i = 0; i < 3; ++i) calls.push_back(&house_.Submit({"x"}));
  house_.replica(0).AnswerAll();
  OnBell();
  EXPECT_EQ(carried_, 3u);
  for (TestCall* call : calls) EXPECT_EMBEDDED(*call);
}

TEST_F(RouterCourierTest, WhoReapsByItselfGivesByItself) {
  house_.Serve(0);
  TestCall& call = house_.Submit({"x"});
  house_.Settle();
  EXPECT_EMBEDDED(call);
  EXPECT_TRUE(cpus_.empty());
  EXPECT_THAT(places_, ElementsAre(kAnyCpu)) << "its replica is not bound to a CPU";
}

TEST_F(RouterCourierTest, WithoutACourierTheLaneThreadGives) {
  house_.router().SetCourier(nullptr);
  house_.Serve(0);
  TestCall& call = house_.Submit({"x"});
  house_.replica(0).AnswerAll();
  OnBell();
  EXPECT_EMBEDDED(call);
}

}  // namespace
}  // namespace zerohop

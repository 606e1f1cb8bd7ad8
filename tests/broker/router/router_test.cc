// The router without deaths: requests, shards, refusals, aborts and time.

#include "broker/router/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Router, OneRequestIsAnswered) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  EXPECT_EQ(call.answers(), 0);
  EXPECT_EQ(house.replica(0).AnswerAll(), 1u);
  house.Reap();
  EXPECT_EMBEDDED(call);
  EXPECT_EQ(call.answer().dim, 8u);
}

TEST(Router, ManyPromptsAreSpreadOverIdleLanesAndAnsweredInOrder) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  TestCall& call = house.Submit(NumberedPrompts(100));
  const auto first = house.replica(0).TakeAll();
  const auto second = house.replica(1).TakeAll();
  EXPECT_GE(first.size(), 2u);
  EXPECT_GE(second.size(), 2u);
  // Answered out of order: the last shard first.
  for (auto shard = second.rbegin(); shard != second.rend(); ++shard) house.replica(1).Answer(*shard);
  house.Reap();
  EXPECT_EQ(call.answers(), 0) << "shards are missing";
  house.replica(0).Answer(first);
  house.Settle();
  EXPECT_EMBEDDED(call);
  EXPECT_GT(call.answer().rows.size(), 2u);
}

TEST(Router, SmallRequestGoesWholeToOneReplica) {
  RouterHouse house;
  house.Serve(0);
  house.Serve(1);
  house.Submit(NumberedPrompts(3));
  EXPECT_EQ(house.replica(0).TakeAll().size() + house.replica(1).TakeAll().size(), 1u);
}

TEST(Router, WithoutAnyReplicaRequestsAreRefusedAtOnce) {
  RouterHouse house;
  EXPECT_EQ(house.router().model(), nullptr);
  EXPECT_FALSE(house.router().AcceptsWork());
  TestCall& call = house.Submit({"hello"});
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kNoReplica);
  EXPECT_THAT(call.answer().message, StartsWith("No healthy replicas"));
}

TEST(Router, WorkBeyondTheCreditWaitsAndIsPostedWhenRoomComes) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit(NumberedPrompts(200));
  EXPECT_GT(house.router().Load().waiting_shards, 0u);
  EXPECT_LT(house.router().Load().lanes[0].tokens, 4u * 64 + 128) << "four batches, and a shard begun";
  house.Settle();
  EXPECT_EMBEDDED(call);
  const RouterLoad load = house.router().Load();
  EXPECT_EQ(load.requests + load.waiting_shards + load.lanes[0].shards + load.lanes[0].tokens, 0u);
}

TEST(Router, LowerPriorityIsServedEarlier) {
  RouterHouse house;
  house.info.batch_tokens = 1;  // one shard at a time
  house.Serve(0);
  house.Submit({"the one that runs, and keeps all others waiting"});
  house.Submit({"five"}, "id", 5);
  house.Submit({"zero"}, "id", 0);
  house.Submit({"minus one"}, "id", -1);
  house.Submit({"zero, but later"}, "id", 0);
  std::vector<std::string> order;
  house.replica(0).AnswerAll();
  house.Reap();
  for (auto taken = house.replica(0).TakeAll(); !taken.empty(); taken = house.replica(0).TakeAll()) {
    for (const Submission& one : taken) order.push_back(house.replica(0).Prompts(one)[0]);
    house.replica(0).Answer(taken);
    house.Reap();
  }
  EXPECT_EQ(order, std::vector<std::string>({"minus one", "zero", "zero, but later", "five"}));
}

TEST(Router, RejectedPromptIsNamedByItsIndexInTheRequest) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit(NumberedPrompts(40));
  const auto taken = house.replica(0).TakeAll();
  ASSERT_GE(taken.size(), 2u);
  EXPECT_EQ(house.replica(0).Prompts(taken[1])[2].substr(0, 10), "prompt 12 ");
  house.replica(0).Refuse(taken[1], CompletionStatus::kRejected, "too odd", 2);
  house.Reap();
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kInvalid);
  EXPECT_EQ(call.answer().message, "Prompt 12: too odd");
  house.replica(0).Answer(taken[0]);
  house.Settle();
  EXPECT_EQ(call.answers(), 1) << "what came later was dropped";
  EXPECT_EQ(house.router().Load().waiting_shards, 0u);
}

TEST(Router, FailedShardIsTriedAgainAndAnswered) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  for (int i = 0; i < 2; ++i) {
    house.replica(0).Refuse(*house.replica(0).TakeOne(), CompletionStatus::kFailed, "out of memory");
    house.Reap();
  }
  EXPECT_EQ(call.answers(), 0);
  house.Settle();
  EXPECT_EMBEDDED(call);
}

TEST(Router, ThirdFailureEndsTheRequestWithThePromptAndTheReason) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello", "there"});
  for (int i = 0; i < 3; ++i) {
    house.replica(0).Refuse(*house.replica(0).TakeOne(), CompletionStatus::kFailed, "out of memory", 1);
    house.Reap();
  }
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kReplicaLost);
  EXPECT_THAT(call.answer().message, StartsWith("Replica failure: "));
  EXPECT_THAT(call.answer().message, HasSubstr("prompt 1: out of memory"));
  EXPECT_EQ(house.replica(0).TakeOne(), std::nullopt);
}

TEST(Router, AbortAnswersOnceAndWithdrawsWhatIsPosted) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"}, "mine");
  TestCall& other = house.Submit({"other"}, "other");
  EXPECT_EQ(house.router().Abort("mine"), 1u);
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kWithdrawn);
  EXPECT_EQ(house.router().Abort("mine"), 0u) << "it is no more";
  EXPECT_EQ(house.router().Abort("unheard of"), 0u);
  const auto taken = house.replica(0).TakeAll();
  EXPECT_TRUE(house.replica(0).lane().Withdrawn(taken[0]));
  EXPECT_FALSE(house.replica(0).lane().Withdrawn(taken[1]));
  house.replica(0).Answer(taken);  // too late to stop: dropped
  house.Reap();
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EMBEDDED(other);
}

TEST(Router, AbortWithdrawsEveryRequestOfTheId) {
  RouterHouse house;
  house.Serve(0);
  TestCall& first = house.Submit({"hello"}, "same");
  TestCall& second = house.Submit({"again"}, "same");
  EXPECT_EQ(house.router().Abort("same"), 2u);
  EXPECT_EQ(first.answers() + second.answers(), 2);
}

TEST(Router, CancelOfWhatWaitsAnswersOnceAndItIsNeverPosted) {
  RouterHouse house;
  house.info.batch_tokens = 1;
  house.Serve(0);
  house.Submit({"the one that runs"});
  TestCall& waiting = house.Submit({"the one that waits"});
  house.router().Cancel(*waiting.ticket());
  house.router().Cancel(*waiting.ticket());
  EXPECT_EQ(waiting.answers(), 1);
  EXPECT_EQ(waiting.outcome(), Outcome::kWithdrawn);
  EXPECT_EQ(house.Settle(), 1u);
}

TEST(Router, CancelAfterTheAnswerChangesNothing) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  house.Settle();
  house.router().Cancel(*call.ticket());
  EXPECT_EMBEDDED(call);
}

TEST(Router, ForwardTimeoutAnswersNotBeforeItsTime) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  house.Reap(seconds(110));
  EXPECT_EQ(call.answers(), 0);
  house.Reap(seconds(121));
  EXPECT_EQ(call.answers(), 1);
  EXPECT_EQ(call.outcome(), Outcome::kReplicaLost);
  EXPECT_THAT(call.answer().message, StartsWith("Replica failure: no answer within 120 s"));
  EXPECT_TRUE(house.replica(0).lane().Withdrawn(*house.replica(0).TakeOne()));
}

TEST(Router, ReplicaIsToldTheEarlierOfDeadlineAndForwardTimeout) {
  RouterHouse house;
  house.Serve(0);
  const auto ns = [](auto t) { return std::chrono::nanoseconds(t.time_since_epoch()).count(); };
  TestCall& plain = house.Submit({"plain"});
  EXPECT_EQ(house.replica(0).TakeOne()->deadline_monotonic_ns, ns(plain.ticket()->arrived_at + seconds(120)));
  auto hurried = std::make_unique<TestCall>(std::vector<std::string>{"hurried"});
  const auto deadline = Router::Clock::now() + seconds(3);
  hurried->ticket()->client_deadline = deadline;
  house.Submit(std::move(hurried));
  EXPECT_EQ(house.replica(0).TakeOne()->deadline_monotonic_ns, ns(deadline));
}

TEST(Router, WorkThatItsReplicaFoundPastItsDeadlineIsExpired) {
  RouterHouse house;
  house.Serve(0);
  auto late = std::make_unique<TestCall>(std::vector<std::string>{"late"});
  late->ticket()->client_deadline = Router::Clock::now() - seconds(1);
  TestCall& call = house.Submit(std::move(late));
  house.replica(0).Refuse(*house.replica(0).TakeOne(), CompletionStatus::kWithdrawn, "");
  house.Reap();
  EXPECT_EQ(call.outcome(), Outcome::kExpired);
  EXPECT_EQ(call.answers(), 1);
}

TEST(Router, WorkWithdrawnForNoReasonIsTriedAgain) {
  RouterHouse house;
  house.Serve(0);
  TestCall& call = house.Submit({"hello"});
  house.replica(0).Refuse(*house.replica(0).TakeOne(), CompletionStatus::kWithdrawn, "");
  house.Reap();
  EXPECT_EQ(call.answers(), 0);
  house.Settle();
  EXPECT_EMBEDDED(call);
}

TEST(Router, QueueBeyondItsLimitIsRefusedAtOnceAndRoomComesBack) {
  RouterOptions options;
  options.admission.requests = 2;
  RouterHouse house(options);
  house.Serve(0);
  house.Submit({"one"});
  house.Submit({"two"});
  TestCall& third = house.Submit({"three"});
  EXPECT_EQ(third.answers(), 1);
  EXPECT_EQ(third.outcome(), Outcome::kOverloaded);
  EXPECT_THAT(third.answer().message, HasSubstr("the limit is 2"));
  EXPECT_EQ(house.router().Load().requests, 2u);
  house.Settle();
  TestCall& fourth = house.Submit({"four"});
  house.Settle();
  EXPECT_EMBEDDED(fourth);
}

TEST(Router, LeavingFinishesWhatWasAcceptedAndRefusesTheRest) {
  RouterHouse house;
  house.Serve(0);
  TestCall& accepted = house.Submit({"accepted"});
  house.router().BeginLeaving();
  TestCall& refused = house.Submit({"refused"});
  EXPECT_EQ(refused.outcome(), Outcome::kLeaving);
  EXPECT_EQ(refused.answers(), 1);
  house.Settle();
  EXPECT_EMBEDDED(accepted);
}

TEST(Router, AnotherModelThanItsSiblingsIsRefused) {
  RouterHouse house;
  house.Serve(0);
  house.info.dim = 16;
  EXPECT_THROW(house.Serve(1), std::runtime_error);
  house.info.dim = 8;
  house.info.vocabulary = 99;
  EXPECT_THROW(house.Serve(1), std::runtime_error);
}

TEST(Router, EmbeddingTooLargeForTheArenaIsRefused) {
  RouterHouse house;
  house.info.dim = 3000;  // 12 kB of 64
  EXPECT_THROW(house.Serve(0), std::runtime_error);
  EXPECT_EQ(house.router().model(), nullptr);
}

TEST(Router, ResponsesOfEveryShardFitTheArenaAtOnceWithOthers) {
  RouterHouse house;
  house.info.dim = 2000;  // one row is an eighth of the arena
  house.Serve(0);
  TestCall& call = house.Submit(NumberedPrompts(30));
  house.Settle();
  EXPECT_EMBEDDED(call);
}

TEST(Router, WorkThatWaitsForTheRowsOfSlowClientsIsPostedWhenTheyAreSent) {
  RouterHouse house;
  house.info.dim = 2000;
  house.Serve(0);
  std::vector<TestCall*> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(&house.Submit({"prompt " + std::to_string(i)}));
  house.Settle();
  for (TestCall* call : calls) {
    EXPECT_EMBEDDED(*call);
    call->DropRows();
  }
}

// Lane 0 has half of its arena free, and nowhere a whole region for two rows: clients that do not read hold
// one row in each. It is the least busy lane all the same.
TEST(Router, SlowClientsOfOneLaneDoNotHoldUpTheOther) {
  RouterHouse house;
  house.info.dim = 1000;  // 4 KiB a row: sixteen regions, in eight pairs
  house.Serve(0);
  std::vector<TestCall*> calls;
  for (int i = 0; i < 16; ++i) calls.push_back(&house.Submit({"p" + std::to_string(i)}));
  const auto taken = house.replica(0).TakeAll();
  ASSERT_EQ(taken.size(), 16u);
  for (int first : {1, 0}) {
    for (int i = first; i < 16; i += 2) {
      house.replica(0).Answer(taken[i]);
      house.Reap();
      EXPECT_EMBEDDED(*calls[i]);
      if (first == 1) calls[i]->DropRows();
    }
  }
  house.Serve(1);
  TestCall& two = house.Submit({"a request", "of two rows"});
  TestCall& behind = house.Submit({"one row"});
  house.Settle();
  EXPECT_EMBEDDED(two);
  EXPECT_EMBEDDED(behind);
  for (TestCall* call : calls) call->DropRows();
  house.Settle();
  EXPECT_EQ(house.router().Load().requests, 0u);
}

}  // namespace
}  // namespace zerohop

// Answers on their way from the lane thread to a front thread: given once, and where.

#include "broker/front/front_courier.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <condition_variable>
#include <memory>
#include <vector>

#include "tests/support/router_house.h"

namespace zerohop {
namespace {

// Counts what it hears, and notes who gave the last, and where that thread may run. Holds the giver as long
// as it is told to.
class Ear final : public AnswerSink {
 public:
  void OnAnswer(Answer /*answer*/) override {
    std::unique_lock lock(mutex_);
    holding_ = hold_;
    heard_.notify_all();
    heard_.wait(lock, [&] { return !hold_; });
    giver_ = std::this_thread::get_id();
    ::pthread_getaffinity_np(::pthread_self(), sizeof cpus_, &cpus_);
    ++answers_;
    heard_.notify_all();
  }
  // Bounded, so that a lost answer is a failure and not a hang.
  bool WaitFor(int answers) {
    std::unique_lock lock(mutex_);
    return heard_.wait_for(lock, std::chrono::seconds(100), [&] { return answers_ >= answers; });
  }
  int answers() const {
    std::lock_guard lock(mutex_);
    return answers_;
  }
  void Hold() {
    std::lock_guard lock(mutex_);
    hold_ = true;
  }
  void WaitForTheHeld() {
    std::unique_lock lock(mutex_);
    heard_.wait(lock, [&] { return holding_; });
  }
  void LetGo() {
    std::lock_guard lock(mutex_);
    hold_ = holding_ = false;
    heard_.notify_all();
  }
  std::thread::id giver() const {
    std::lock_guard lock(mutex_);
    return giver_;
  }
  bool MayRunOn(int cpu) const {
    std::lock_guard lock(mutex_);
    return CPU_ISSET(cpu, &cpus_);
  }
  int CountCpus() const {
    std::lock_guard lock(mutex_);
    return CPU_COUNT(&cpus_);
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable heard_;
  std::thread::id giver_;
  cpu_set_t cpus_{};
  int answers_ = 0;
  bool hold_ = false, holding_ = false;
};

// A completion queue and its thread, as the front has them.
class FrontCourierTest : public ::testing::Test {
 protected:
  ~FrontCourierTest() override { Leave(); }

  void Open() { courier_.Open(&queue_, thread_.native_handle()); }
  void Leave() {
    if (!thread_.joinable()) return;
    courier_.Close();
    queue_.Shutdown();
    thread_.join();
  }
  bool IsFree() {
    cpu_set_t its, mine;
    ::pthread_getaffinity_np(thread_.native_handle(), sizeof its, &its);
    ::pthread_getaffinity_np(::pthread_self(), sizeof mine, &mine);
    return CPU_EQUAL(&its, &mine);
  }
  void Carry(int answers, int cpu) {
    ReadyAnswers ready;
    for (int i = 0; i < answers; ++i) ready.Add(&ear_, {Outcome::kNoReplica, "no matter what"});
    courier_.Carry(std::move(ready), cpu);
  }

  Ear ear_;
  grpc::CompletionQueue queue_;
  RouterHouse house_;
  FrontCourier courier_{house_.router()};
  std::thread thread_{[this] {
    void* event;
    for (bool ok; queue_.Next(&event, &ok);) static_cast<CompletionEvent*>(event)->Proceed(ok);
  }};
};

TEST_F(FrontCourierTest, SeveralAnswersAreGivenByTheFrontThread) {
  Open();
  Carry(3, kAnyCpu);
  ASSERT_TRUE(ear_.WaitFor(3));
  EXPECT_EQ(ear_.giver(), thread_.get_id());
}

TEST_F(FrontCourierTest, AnAnswerAloneIsGivenAtOnceWhileTheFrontThreadMayBeAnywhere) {
  Open();
  Carry(1, kAnyCpu);
  EXPECT_EQ(ear_.answers(), 1);
  EXPECT_EQ(ear_.giver(), std::this_thread::get_id());
}

TEST_F(FrontCourierTest, TheGiverIsWhereItWasToldToBeAndAnywhereAfterwards) {
  Open();
  for (int round = 0; round < 2; ++round) {
    const int before = ear_.answers();
    const int cpu = UsableCpu(static_cast<uint32_t>(round));
    Carry(1, cpu);
    ASSERT_TRUE(ear_.WaitFor(before + 1));
    EXPECT_EQ(ear_.giver(), thread_.get_id());
    EXPECT_TRUE(ear_.MayRunOn(cpu));
    EXPECT_EQ(ear_.CountCpus(), 1);
    Carry(2, kAnyCpu);
    ASSERT_TRUE(ear_.WaitFor(before + 3));
    EXPECT_EQ(ear_.CountCpus(), CountCpus());
  }
}

TEST_F(FrontCourierTest, OneThatIsGivenAtOnceSetsTheFrontThreadFree) {
  Open();
  Carry(1, UsableCpu(0));
  ASSERT_TRUE(ear_.WaitFor(1));
  Carry(1, kAnyCpu);
  EXPECT_TRUE(IsFree());
}

TEST_F(FrontCourierTest, WhoGivesByItselfPlacesTheFrontThreadAsWell) {
  courier_.Place(UsableCpu(0));
  EXPECT_TRUE(IsFree()) << "it is not open";
  Open();
  courier_.Place(UsableCpu(0));
  EXPECT_EQ(IsFree(), CountCpus() == 1);
  courier_.Place(kAnyCpu);
  EXPECT_TRUE(IsFree());
}

TEST_F(FrontCourierTest, WithoutAnswersItIsPlacedAndSetFreeAsWell) {
  Open();
  Carry(0, UsableCpu(0));
  EXPECT_EQ(IsFree(), CountCpus() == 1);
  Carry(0, kAnyCpu);
  EXPECT_TRUE(IsFree());
  EXPECT_EQ(ear_.answers(), 0);
}

TEST_F(FrontCourierTest, ACpuThatIsNotOursIsNone) {
  Open();
  Carry(1, CPU_SETSIZE - 1);
  EXPECT_EQ(ear_.answers(), 1) << "given at once";
  EXPECT_TRUE(IsFree());
}

TEST_F(FrontCourierTest, WhatComesWhileTheFrontThreadGivesIsGivenNext) {
  Open();
  ear_.Hold();
  Carry(2, kAnyCpu);
  ear_.WaitForTheHeld();
  Carry(2, kAnyCpu);
  Carry(3, kAnyCpu);
  ear_.LetGo();
  EXPECT_TRUE(ear_.WaitFor(7));
  Leave();
  EXPECT_EQ(ear_.answers(), 7);
}

TEST_F(FrontCourierTest, WhatIsOnItsWayWhenTheQueueIsShutDownArrives) {
  Open();
  ear_.Hold();
  Carry(2, kAnyCpu);
  ear_.WaitForTheHeld();
  Carry(2, kAnyCpu);
  courier_.Close();
  queue_.Shutdown();
  ear_.LetGo();
  thread_.join();
  EXPECT_EQ(ear_.answers(), 4);
  EXPECT_NE(ear_.giver(), std::this_thread::get_id());
}

TEST_F(FrontCourierTest, BeforeAndAfterItsTimeTheCallerGives) {
  Carry(2, UsableCpu(0));
  EXPECT_EQ(ear_.answers(), 2);
  EXPECT_EQ(ear_.giver(), std::this_thread::get_id());
  Open();
  courier_.Close();
  Carry(2, UsableCpu(0));
  EXPECT_EQ(ear_.answers(), 4);
  EXPECT_EQ(ear_.giver(), std::this_thread::get_id());
}

TEST_F(FrontCourierTest, EachAnswerIsGivenOnceWhoeverCarriesAndWheneverTheFrontLeaves) {
  constexpr int kCarriers = 3, kTimes = 2'000;
  Open();
  std::vector<std::thread> carriers;
  for (int i = 0; i < kCarriers; ++i) {
    carriers.emplace_back([this, i] {
      for (int k = 0; k < kTimes; ++k)
        Carry(1 + k % 3, k % 2 == 0 ? kAnyCpu : UsableCpu(static_cast<uint32_t>(i)));
    });
  }
  for (int k = 0; k < kTimes; ++k) courier_.Place(k % 2 == 0 ? kAnyCpu : UsableCpu(0));
  EXPECT_TRUE(ear_.WaitFor(kTimes));
  Leave();
  for (std::thread& carrier : carriers) carrier.join();
  // 1, 2, 3 answers, again and again.
  EXPECT_EQ(ear_.answers(), kCarriers * (kTimes / 3 * 6 + 1 + 2));
}

}  // namespace
}  // namespace zerohop

#include "replica_shim/concurrent_worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "tests/support/worker_house.h"

namespace zerohop {
namespace {

// Finishes tasks when, how and in which order the test says; from threads of its own.
class ManualEngine final : public ConcurrentEngine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override { return ScriptedEngine::Info(); }

  void Begin(std::shared_ptr<Task> task) override {
    std::lock_guard lock(lock_);
    begun_.push_back(std::move(task));
    changed_.notify_all();
  }
  void Cancel(const std::shared_ptr<Task>& task) override {
    std::lock_guard lock(lock_);
    cancelled.push_back(task->submission().cookie);
    changed_.notify_all();
    task->Finish({.status = CompletionStatus::kWithdrawn});
  }

  // Takes the oldest that waits, or the youngest.
  std::shared_ptr<Task> Take(bool youngest = false) {
    std::unique_lock lock(lock_);
    changed_.wait(lock, [&] { return !begun_.empty(); });
    std::shared_ptr<Task> task = youngest ? begun_.back() : begun_.front();
    youngest ? begun_.pop_back() : begun_.pop_front();
    return task;
  }
  bool HasBegun() {
    std::lock_guard lock(lock_);
    return !begun_.empty();
  }
  void AwaitCancel() {
    std::unique_lock lock(lock_);
    changed_.wait(lock, [&] { return !cancelled.empty(); });
  }
  void AwaitBegun(size_t count) {
    std::unique_lock lock(lock_);
    changed_.wait(lock, [&] { return begun_.size() >= count; });
  }

  std::vector<uint64_t> cancelled;  // cookies

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> begun_;
};

void Answer(Task& task) {
  for (Prompt& prompt : task.prompts()) {
    const auto ids = std::as_bytes(prompt.token_ids);
    const std::string text = prompt.kind == PromptKind::kText
                                 ? std::string(prompt.text)
                                 : std::string(reinterpret_cast<const char*>(ids.data()), ids.size());
    const uint32_t hash = PromptHash(text);
    for (uint32_t i = 0; i < prompt.row.size(); ++i) prompt.row[i] = KnownValue(hash, i);
  }
  task.Finish({.tokens = 7});
}

// The worker on a thread; the test is broker and engine.
class ConcurrentHouse {
 public:
  explicit ConcurrentHouse(std::chrono::nanoseconds at_most = std::chrono::hours(1)) : step(at_most) {
    worker_ = std::thread([this] {
      ended = ConcurrentWorker(house.lane.replica, engine, ScriptedEngine::Info(), step, [this] {
                return orders.load();
              }).Serve();
      done = true;
    });
  }
  ~ConcurrentHouse() { End(Orders::kDrain); }
  void End(Orders how) {
    orders = how;
    if (worker_.joinable()) worker_.join();
  }
  Submission Submit(const std::vector<std::string>& prompts, PromptKind kind = PromptKind::kText) {
    const Submission submission = house.Submit(prompts, kind);
    house.lane.broker->RingReplica();
    return submission;
  }
  HeartbeatReader Heartbeat() { return house.lane.broker->MakeHeartbeatReader({}); }

  const std::chrono::nanoseconds step;  // what a pass may take
  WorkerHouse house;
  ManualEngine engine;
  std::atomic<Orders> orders{Orders::kServe};
  absl::Status ended;  // when the worker is
  std::atomic<bool> done{false};

 private:
  std::thread worker_;
};

TEST(ConcurrentWorker, SeveralSubmissionsAreWithTheEngineAtOnceAndMayEndInAnyOrder) {
  ConcurrentHouse house;
  const Submission a = house.Submit({"one", "two"}), b = house.Submit({"three"});
  const Submission c = house.Submit({"12345678"}, PromptKind::kTokenIds);
  house.engine.AwaitBegun(3);
  for (int i = 0; i < 3; ++i) Answer(*house.engine.Take(/*youngest=*/true));
  house.End(Orders::kDrain);
  EXPECT_TRUE(house.ended.ok());
  const auto completions = house.house.Completions();
  ASSERT_EQ(completions.size(), 3u);
  EXPECT_EQ(completions[0].cookie, c.cookie);
  EXPECT_EQ(completions[1].cookie, b.cookie);
  EXPECT_EQ(completions[2].cookie, a.cookie);
  EXPECT_EQ(completions[2].tokens, 7u);
  EXPECT_TRUE(house.house.HasRightRows(a, {"one", "two"}));
  EXPECT_TRUE(house.house.HasRightRows(b, {"three"}));
  EXPECT_TRUE(house.house.HasRightRows(c, {"12345678"}));
}

TEST(ConcurrentWorker, DrainWaitsForWhatTheEngineHolds) {
  ConcurrentHouse house;
  house.Submit({"one"});
  const auto task = house.engine.Take();
  std::thread late([&] { Answer(*task); });
  house.End(Orders::kDrain);
  late.join();
  EXPECT_EQ(StatusOf(house.house.Completions().at(0)), CompletionStatus::kOk);
  EXPECT_TRUE(house.engine.cancelled.empty());
}

TEST(ConcurrentWorker, AWithdrawnSubmissionIsCancelledOnceAndTheOthersGoOn) {
  ConcurrentHouse house;
  const Submission a = house.Submit({"one"}), b = house.Submit({"two"});
  house.engine.AwaitBegun(2);
  house.house.lane.broker->Withdraw(a.slot, a.cookie);
  house.engine.AwaitCancel();
  (void)house.engine.Take();
  Answer(*house.engine.Take());
  house.End(Orders::kDrain);
  EXPECT_EQ(house.engine.cancelled, std::vector<uint64_t>{a.cookie});
  const auto completions = house.house.Completions();
  ASSERT_EQ(completions.size(), 2u);
  for (const Completion& completion : completions) {
    EXPECT_EQ(StatusOf(completion),
              completion.cookie == b.cookie ? CompletionStatus::kOk : CompletionStatus::kWithdrawn);
  }
}

TEST(ConcurrentWorker, WhatIsLateWhenItIsTakenNeverReachesTheEngine) {
  ConcurrentHouse house;
  Submission late = house.house.Prepare({"late"});
  late.deadline_monotonic_ns = 1;
  house.house.Submit(late);
  const Submission good = house.Submit({"good"});
  const auto task = house.engine.Take();
  EXPECT_EQ(task->submission().cookie, good.cookie);
  Answer(*task);
  house.End(Orders::kDrain);
  const auto completions = house.house.Completions();
  ASSERT_EQ(completions.size(), 2u);
  EXPECT_EQ(StatusOf(completions[0]), CompletionStatus::kWithdrawn);
  EXPECT_EQ(StatusOf(completions[1]), CompletionStatus::kOk);
}

TEST(ConcurrentWorker, FailuresCarryPromptAndReason) {
  ConcurrentHouse house;
  const Submission a = house.Submit({"one", "two"});
  house.engine.Take()->Finish({CompletionStatus::kRejected, 1, "no such thing"});
  house.End(Orders::kDrain);
  const Completion completion = house.house.Completions().at(0);
  EXPECT_EQ(StatusOf(completion), CompletionStatus::kRejected);
  EXPECT_EQ(completion.failed_prompt, 1u);
  EXPECT_EQ(house.house.Response(a, completion.detail_length), "no such thing");
}

TEST(ConcurrentWorker, ASecondEndIsNotHeard) {
  ConcurrentHouse house;
  house.Submit({"one"});
  const auto task = house.engine.Take();
  Answer(*task);
  task->Finish({CompletionStatus::kFailed, 0, "late"});
  house.End(Orders::kDrain);
  ASSERT_EQ(house.house.Completions().size(), 1u);
}

TEST(ConcurrentWorker, AnImpossibleRecordFailsAloneAndNeverReachesTheEngine) {
  ConcurrentHouse house;
  Submission impossible = house.house.Prepare({"one"});
  impossible.dim += 1;
  house.house.Submit(impossible);
  house.Submit({"two"});
  Answer(*house.engine.Take());
  house.End(Orders::kDrain);
  const auto completions = house.house.Completions();
  ASSERT_EQ(completions.size(), 2u);
  EXPECT_EQ(StatusOf(completions[0]), CompletionStatus::kFailed);
}

TEST(ConcurrentWorker, WhenTheBrokerIsGoneTheEngineIsToldToLetGo) {
  ConcurrentHouse house;
  house.Submit({"one"});
  house.Submit({"two"});
  house.engine.AwaitBegun(2);
  house.End(Orders::kLeave);
  EXPECT_TRUE(house.ended.ok());
  EXPECT_EQ(house.engine.cancelled.size(), 2u);
}

TEST(ConcurrentWorker, MoreWorkAndWithdrawnWorkAreNoProgressAndWhatIsFinishedIs) {
  ConcurrentHouse house;
  HeartbeatReader heartbeat = house.Heartbeat();
  HeartbeatReader::Clock::time_point now{};
  const auto progressed = [&] {  // since the last call
    heartbeat.Look(now += std::chrono::seconds(1));
    return heartbeat.ProgressSilentFor(now).count() == 0;
  };
  house.Submit({"one"});
  const auto held = house.engine.Take();
  EXPECT_EQ(heartbeat.phase(), Phase::kRunning);
  EXPECT_TRUE(progressed()) << "it has begun";
  const Submission more = house.Submit({"two"});
  const auto second = house.engine.Take();
  EXPECT_FALSE(progressed());
  house.house.lane.broker->Withdraw(more.slot, more.cookie);
  while (house.house.Completions().empty()) std::this_thread::yield();
  EXPECT_FALSE(progressed());
  house.Submit({"three"});
  Answer(*house.engine.Take());
  while (house.house.Completions().empty()) std::this_thread::yield();
  while (!progressed()) std::this_thread::yield();
  EXPECT_EQ(heartbeat.phase(), Phase::kRunning);
  Answer(*held);
  while (house.Heartbeat().phase() != Phase::kIdle) std::this_thread::yield();
}

TEST(ConcurrentWorker, AnEngineThatFinishesNothingIsFoundOutThoughAllItsWorkIsWithdrawn) {
  ConcurrentHouse house(std::chrono::milliseconds(20));
  while (!house.done) {
    const Submission submission = house.Submit({"one"});
    while (!house.engine.HasBegun() && !house.done) std::this_thread::yield();
    if (house.engine.HasBegun()) (void)house.engine.Take();
    house.house.lane.broker->Withdraw(submission.slot, submission.cookie);
    while (house.house.Completions().empty() && !house.done) std::this_thread::yield();
  }
  house.End(Orders::kServe);
  EXPECT_TRUE(absl::IsInternal(house.ended));
  EXPECT_EQ(house.ended.message().find("hang: "), 0u);
}

TEST(ConcurrentWorker, ManyTasksFinishedByManyThreadsAreEachAnsweredOnce) {
  ConcurrentHouse house;
  constexpr int kRounds = 200, kAtOnce = 8;
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::vector<std::thread> finishers;
  std::mutex tasks_lock;
  std::vector<std::shared_ptr<Task>> tasks;
  for (int t = 0; t < 3; ++t) {
    finishers.emplace_back([&, t] {
      std::mt19937 random(t);
      while (!stop) {
        std::shared_ptr<Task> task;
        {
          std::lock_guard lock(tasks_lock);
          if (!tasks.empty()) {
            std::swap(tasks[random() % tasks.size()], tasks.back());
            task = std::move(tasks.back());
            tasks.pop_back();
          }
        }
        if (task) {
          Answer(*task);
          ++answered;
        }
        std::this_thread::yield();
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Submission> sent;
    for (int i = 0; i < kAtOnce; ++i)
      sent.push_back(house.Submit({std::to_string(round), std::to_string(i)}));
    for (int i = 0; i < kAtOnce; ++i) {
      auto task = house.engine.Take();
      std::lock_guard lock(tasks_lock);
      tasks.push_back(std::move(task));
    }
    std::vector<uint64_t> seen;
    while (seen.size() < kAtOnce) {
      for (const Completion& completion : house.house.Completions()) seen.push_back(completion.cookie);
      std::this_thread::yield();
    }
    for (int i = 0; i < kAtOnce; ++i) {
      ASSERT_EQ(std::count(seen.begin(), seen.end(), sent[i].cookie), 1);
      ASSERT_TRUE(house.house.HasRightRows(sent[i], {std::to_string(round), std::to_string(i)}));
    }
  }
  stop = true;
  for (std::thread& finisher : finishers) finisher.join();
  EXPECT_EQ(answered, kRounds * kAtOnce);
}

}  // namespace
}  // namespace zerohop

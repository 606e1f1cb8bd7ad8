// All threads of a broker at once: front threads that submit and cancel, the
// lane thread, replicas on threads of their own, and a supervisor that kills
// them. Every request is answered exactly once and never wrong.

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include "broker/lanes/lane_thread.h"
#include "broker/router/attendance.h"
#include "broker/router/router.h"
#include "tests/support/fake_replica.h"
#include "tests/support/test_call.h"

namespace zerohop {
namespace {

constexpr int kFrontThreads = 3;
constexpr int kRequests = 2'000;  // of each front thread
constexpr uint32_t kReplicas = 2;

EngineInfo SmallModel() {
  EngineInfo info;
  info.dim = 8;
  info.max_tokens = 512;
  info.batch_tokens = 64;
  info.batch_prompts = 8;
  return info;
}

// A replica process: a thread that serves one lane until it is killed, at any point of its loop.
class ReplicaThread {
 public:
  ReplicaThread(const BrokerLane& lane, const BrokerBell& bell)
      : replica_(lane, bell), thread_([this] { Run(); }) {}
  ~ReplicaThread() {
    killed_ = true;
    thread_.join();
  }

 private:
  void Run() {
    while (!killed_) {
      replica_.lane().WaitForWork(std::chrono::milliseconds(1));
      while (auto one = replica_.TakeOne()) {
        if (killed_) return;
        replica_.WriteRows(*one);
        if (killed_) return;
        replica_.Publish(CompletionOf(*one, CompletionStatus::kOk));
      }
    }
  }

  FakeReplica replica_;
  std::atomic<bool> killed_{false};
  std::thread thread_;
};

// The supervisor's part: one thread that starts and kills generations.
class Generations {
 public:
  Generations(Router& router, const BrokerBell& bell) : router_(router), bell_(bell), threads_(kReplicas) {}
  ~Generations() {
    for (uint32_t i = 0; i < kReplicas; ++i) Kill(i);
  }
  void Start(uint32_t replica) {
    auto lane =
        std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, ++generation_, replica}, SmallGeometry())));
    threads_[replica] = std::make_unique<ReplicaThread>(*lane, bell_);
    const absl::Status served = router_.OnServing(replica, std::move(lane), SmallModel(), kAnyCpu);
    ASSERT_TRUE(served.ok()) << served;
  }
  int kills() const { return kills_; }
  // `doomed_first`: its work is taken back while it still runs, and may still complete it.
  void Kill(uint32_t replica, bool doomed_first = false) {
    if (!threads_[replica]) return;
    if (doomed_first) (void)router_.OnDoomed(replica);
    threads_[replica].reset();  // its exit is seen
    router_.OnGone(replica, "signal 9 (Killed)");
    ++kills_;
  }

 private:
  Router& router_;
  const BrokerBell& bell_;
  uint64_t generation_ = 0;
  int kills_ = 0;
  std::vector<std::unique_ptr<ReplicaThread>> threads_;
};

struct Tally {
  std::atomic<int> embedded{0}, withdrawn{0}, lost{0}, wrong{0}, unanswered{0}, finished{0};
};

// A front thread: one client after the other; some give up, some abort by id, some hold their rows for a
// while.
void BeClients(Router& router, Attendance attendance, uint32_t seed, Tally* tally,
               std::vector<std::unique_ptr<TestCall>>* calls) {
  std::mt19937 random(seed);
  std::vector<TestCall*> open;
  const auto close = [&](TestCall& call) {
    while (attendance.AwaitAnswer()) {
    }
    if (!call.WaitForAnswer()) {
      ++tally->unanswered;
      return;
    }
    switch (call.outcome()) {
      case Outcome::kEmbedded:
        ++(call.HasRightRows() ? tally->embedded : tally->wrong);
        break;
      case Outcome::kWithdrawn:
        ++tally->withdrawn;
        break;
      case Outcome::kReplicaLost:
        ++tally->lost;
        break;
      default:
        ++tally->wrong;
    }
    call.DropRows();
  };
  for (int i = 0; i < kRequests; ++i) {
    const std::string id = std::to_string(seed) + "-" + std::to_string(i);
    calls->push_back(std::make_unique<TestCall>(NumberedPrompts(1 + random() % 30, 10 + random() % 100), id,
                                                static_cast<int32_t>(random() % 3)));
    TestCall& call = *calls->back();
    attendance.Begin();
    router.Submit(call.ticket());
    if (random() % 4 == 0) attendance.Look();
    const uint32_t fate = random() % 16;
    if (fate == 0) router.Cancel(*call.ticket());
    if (fate == 1) router.Abort(id);
    open.push_back(&call);
    while (open.size() > random() % 8) {
      close(*open.front());
      open.erase(open.begin());
    }
  }
  for (TestCall* call : open) close(*call);
  ++tally->finished;
}

// Gives at once what is carried; lane thread and front threads say where the giver shall be.
class Courier final : public AnswerCourier {
 public:
  void Carry(ReadyAnswers answers, int cpu) override {
    Place(cpu);
    answers.Give();
  }
  void Place(int cpu) override {
    std::lock_guard lock(mutex_);
    cpu_ = cpu;
  }

 private:
  std::mutex mutex_;
  int cpu_ = kAnyCpu;
};

void RunHouse(const RouterOptions& options, int kill_every_us) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const BrokerBell bell = Must(BrokerBell::Create());
  std::vector<std::unique_ptr<TestCall>> calls[kFrontThreads];
  Tally tally;
  Courier courier;
  Router router(options, bell);
  router.SetCourier(&courier);
  router.SetKiller([&](uint32_t, uint64_t, const std::string&) { ++tally.wrong; });
  {
    LaneThread lanes(router, bell, std::chrono::nanoseconds(0));
    Generations generations(router, bell);
    for (uint32_t i = 0; i < kReplicas; ++i) generations.Start(i);
    std::vector<std::thread> fronts;
    for (int i = 0; i < kFrontThreads; ++i) {
      const Attendance attendance(router, bell.MakeAttendant(), std::chrono::microseconds(50));
      fronts.emplace_back(BeClients, std::ref(router), attendance, seed + 1 + i, &tally, &calls[i]);
    }
    std::mt19937 random(seed);
    while (tally.finished < kFrontThreads) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % kill_every_us));
      const uint32_t victim = random() % kReplicas;
      generations.Kill(victim, /*doomed_first=*/random() % 2 == 0);
      if (random() % 4 == 0) std::this_thread::yield();
      generations.Start(victim);
    }
    for (auto& front : fronts) front.join();
    testing::Test::RecordProperty("kills", generations.kills());
  }
  const RouterLoad load = router.Load();
  EXPECT_EQ(load.requests, 0u);
  int answers = 0;
  for (const auto& mine : calls) {
    for (const auto& call : mine) {
      EXPECT_EQ(call->answers(), 1);
      answers += call->answers();
    }
  }
  EXPECT_EQ(answers, kFrontThreads * kRequests);
  EXPECT_EQ(tally.unanswered, 0);
  EXPECT_EQ(tally.wrong, 0);
  EXPECT_EQ(tally.embedded + tally.withdrawn + tally.lost, kFrontThreads * kRequests);
  EXPECT_GT(tally.embedded, 0);
  testing::Test::RecordProperty("embedded", tally.embedded.load());
  testing::Test::RecordProperty("withdrawn", tally.withdrawn.load());
  testing::Test::RecordProperty("lost", tally.lost.load());
}

TEST(RouterThreads, EveryRequestIsAnsweredOnceAndRightWhileReplicasDie) {
  RouterOptions options;
  options.replicas = kReplicas;
  options.replica_grace = std::chrono::hours(1);
  RunHouse(options, 1'000);
}

TEST(RouterThreads, SoItIsWithQueuesPerLaneAndLoneClientsThatStayAwake) {
  RouterOptions options;
  options.replicas = kReplicas;
  options.replica_grace = std::chrono::hours(1);
  options.policy = Policy::kRoundRobin;
  options.may_stay_awake = true;
  RunHouse(options, 3'000);
}

}  // namespace
}  // namespace zerohop

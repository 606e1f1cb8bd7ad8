#pragma once

// RouterHouse: a router with fake replicas around it, and the test as
// supervisor, lane thread and clock. Nothing moves unless the test moves it.

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/router/router.h"
#include "tests/support/fake_replica.h"
#include "tests/support/test_call.h"

namespace zerohop {

class RouterHouse {
 public:
  struct Kill {
    uint32_t replica;
    uint64_t generation;
    std::string reason;
  };

  explicit RouterHouse(const RouterOptions& options = RouterOptions())
      : router_(std::make_unique<Router>(options, bell_)) {
    router_->SetKiller([this](uint32_t replica, uint64_t generation, std::string reason) {
      kills.push_back({replica, generation, std::move(reason)});
    });
    // A tiny batch: a shard is two of them, 128 estimated tokens; a replica may hold four.
    info.dim = 8;
    info.max_tokens = 512;
    info.batch_tokens = 64;
    info.batch_prompts = 8;
  }

  Router& router() { return *router_; }
  const BrokerBell& bell() const { return bell_; }

  // A new generation of `replica` serves from here on.
  FakeReplica& Serve(uint32_t replica, int cpu = kAnyCpu) {
    auto lane = std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, ++generation_, replica}, geometry)));
    auto& fake = replicas_[replica];
    fake = std::make_unique<FakeReplica>(*lane, bell_);
    const absl::Status served = router_->OnServing(replica, std::move(lane), info, cpu);
    if (!served.ok()) throw std::runtime_error(std::string(served.message()));
    return *fake;
  }
  void Die(uint32_t replica, const std::string& reason = "signal 9 (Killed)") {
    replicas_.erase(replica);
    router_->OnGone(replica, reason);
  }
  FakeReplica& replica(uint32_t index) { return *replicas_.at(index); }

  TestCall& Submit(std::vector<std::string> prompts, const std::string& id = "id", int32_t priority = 0) {
    return Submit(std::make_unique<TestCall>(std::move(prompts), id, priority));
  }
  TestCall& Submit(std::unique_ptr<TestCall> call) {
    calls_.push_back(std::move(call));
    router_->Submit(calls_.back()->ticket());
    router_->RingReplicas();
    return *calls_.back();
  }
  void Reap(std::chrono::nanoseconds from_now = std::chrono::nanoseconds(0)) {
    router_->Reap(Router::Clock::now() + from_now);
  }
  // Until nothing more happens. How many submissions were answered.
  size_t Settle() {
    size_t all = 0;
    for (size_t some = 1; some > 0; all += some) {
      Reap();
      some = 0;
      for (auto& [index, replica] : replicas_) some += replica->AnswerAll();
    }
    return all;
  }

  EngineInfo info;
  LaneGeometry geometry = SmallGeometry();
  std::vector<Kill> kills;

 private:
  BrokerBell bell_ = Must(BrokerBell::Create());
  uint64_t generation_ = 0;
  // Tickets refer to calls, and what the router still holds refers to tickets.
  std::vector<std::unique_ptr<TestCall>> calls_;
  std::unique_ptr<Router> router_;
  std::map<uint32_t, std::unique_ptr<FakeReplica>> replicas_;
};

// Answered once, with its own rows.
#define EXPECT_EMBEDDED(call)                                                                           \
  EXPECT_TRUE((call).answers() == 1 && (call).outcome() == Outcome::kEmbedded && (call).HasRightRows()) \
      << (call).answers() << " answers, message: " << (call).answer().message

}  // namespace zerohop

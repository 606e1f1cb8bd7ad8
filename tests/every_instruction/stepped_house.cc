#include "tests/every_instruction/stepped_house.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "replica_shim/engines/echo_engine.h"
#include "tests/support/lane_pair.h"
#include "tests/support/must.h"

namespace zerohop {
namespace {

constexpr uint32_t kVictim = 0, kSurvivor = 1;
constexpr uint64_t kEpoch = 7;
// Bounded, so that a lost answer is a failure and not a hang.
constexpr std::chrono::seconds kLongEnough(100);

RouterOptions TwoReplicas() {
  RouterOptions options;
  options.replicas = 2;
  return options;
}

std::string EchoRows(const std::vector<std::string>& prompts, uint32_t dim) {
  std::string rows(prompts.size() * RowBytes(dim), '\0');
  auto* row = reinterpret_cast<float*>(rows.data());
  for (const std::string& prompt : prompts) {
    FillEchoRow(std::as_bytes(std::span<const char>(prompt)), {row, dim});
    row += dim;
  }
  return rows;
}

std::string BytesOf(const RowBlocks& blocks) {
  std::string bytes;
  for (const RowBlock& block : blocks) {
    bytes.append(reinterpret_cast<const char*>(block.bytes().data()), block.bytes().size());
  }
  return bytes;
}

void ExpectEmbedded(const std::vector<std::string>& prompts, const TestCall& call) {
  EXPECT_EQ(call.answers(), 1) << prompts[0];
  if (call.answers() == 0) return;
  const Answer& answer = call.answer();
  EXPECT_EQ(answer.outcome, Outcome::kEmbedded) << answer.message;
  EXPECT_TRUE(BytesOf(answer.rows) == EchoRows(prompts, answer.dim)) << "wrong rows for " << prompts[0];
}

bool IsIdleAgain(const Visible& seen, const Work& work) {
  return seen.idle && seen.published == work.prompts.size();
}

}  // namespace

SteppedHouse::SteppedHouse()
    : geometry_(SmallGeometry()),
      bell_(Must(BrokerBell::Create())),
      sleeper_(bell_.MakeSleeper(std::chrono::nanoseconds(0))),
      router_(TwoReplicas(), bell_) {
  router_.SetKiller([this](uint32_t, uint64_t, std::string reason) { kills_.push_back(std::move(reason)); });
  survivor_ = StartReplica(kSurvivor);
  Serve(*survivor_);
  next_victim_ = StartReplica(kVictim);
}

std::unique_ptr<LiveReplica> SteppedHouse::StartReplica(uint32_t replica) {
  return std::make_unique<LiveReplica>(LaneIdentity{kEpoch, ++generation_, replica}, geometry_);
}

void SteppedHouse::Serve(LiveReplica& replica) {
  const EngineInfo info = replica.Join(bell_);
  const absl::Status served =
      router_.OnServing(replica.lane()->identity().replica, replica.lane(), info, kAnyCpu);
  if (!served.ok()) throw std::runtime_error(std::string(served.message()));
}

void SteppedHouse::Submit(std::vector<std::string> prompts, Requests* requests) {
  auto call = std::make_unique<TestCall>(prompts, "request " + std::to_string(request_));
  requests->push_back({std::move(prompts), std::move(call)});
  router_.Submit(requests->back().call->ticket());
  router_.RingReplicas();
}

// Texts of one length, so that every victim does the same steps with another text.
void SteppedHouse::SubmitNext(const Work& work, Requests* requests) {
  ++request_;
  std::vector<std::string> prompts;
  for (uint32_t i = 0; i < work.prompts[requests->size()]; ++i) {
    char text[32];
    std::snprintf(text, sizeof text, "%07llu.%u", static_cast<unsigned long long>(request_), i);
    prompts.emplace_back(text);
  }
  Submit(std::move(prompts), requests);
}

bool SteppedHouse::SubmitNextIfTaken(const Work& work, const Visible& seen, Requests* requests) {
  if (requests->size() == work.prompts.size() || seen.taken < requests->size()) return false;
  SubmitNext(work, requests);
  return true;
}

// With all that its lane holds, so that the rest is the victim's, however long the work of either seems to
// take. Before the victim serves.
void SteppedHouse::OccupySurvivor(Requests* others) {
  survivor_->Halt();
  for (uint32_t i = 0; i < geometry_.ring_cells; ++i)
    Submit({"something else " + std::to_string(++request_)}, others);
  EXPECT_EQ(router_.Load().lanes[kSurvivor].shards, geometry_.ring_cells) << "it would take more";
}

// The first requests of a process take paths of their own, through the linker and the allocator.
void SteppedHouse::WarmUp(const Work& work) {
  Requests requests;
  while (requests.size() < work.prompts.size()) {
    SubmitNext(work, &requests);
    AwaitAnswers(requests);
  }
  for (const Request& request : requests) ExpectEmbedded(request.prompts, *request.call);
}

Passage SteppedHouse::Walk(const Work& work) {
  Passage passage;
  const Trial trial = RunAndKill(work, [&](Victim& victim, Requests* requests) {
    Visible seen = victim.Look();
    for (uint64_t k = 0;; ++k) {
      victim.AppendPosition(&passage);
      if (SubmitNextIfTaken(work, seen, requests)) passage.postings.push_back(k);
      if (IsIdleAgain(seen, work)) return;
      victim.Step();
      const Visible now = victim.Look();
      if (now != seen) passage.landmarks.push_back(k + 1);
      seen = now;
    }
  });
  EXPECT_TRUE(trial.idle_again);
  return passage;
}

Trial SteppedHouse::KillAfter(uint64_t k, const Work& work, const Passage& passage) {
  bool strayed = false;
  Trial trial = RunAndKill(work, [&](Victim& victim, Requests* requests) {
    for (uint64_t at = 0;;) {
      const Visible seen = victim.Look();
      SubmitNextIfTaken(work, seen, requests);
      if (at >= k || IsIdleAgain(seen, work)) {
        strayed = !victim.IsAt(passage, std::min(k, passage.length()));
        return;
      }
      // It is met wherever something is to be posted.
      const auto posting = std::ranges::upper_bound(passage.postings, at);
      at = victim.Advance(passage, at, posting == passage.postings.end() ? k : std::min(k, *posting));
    }
  });
  trial.strayed = strayed;
  return trial;
}

Trial SteppedHouse::RunAndKill(const Work& work, const Run& run) {
  Requests others, requests;
  if (work.survivor_is_busy) OccupySurvivor(&others);
  const auto victim = std::move(next_victim_);
  Serve(*victim);
  next_victim_ = StartReplica(kVictim);
  WarmUp(work);
  const std::weak_ptr<BrokerLane> lane = victim->lane();
  const Trial trial = RunOne(*victim, work, run, &requests);
  Bury(*victim, trial, requests);
  if (work.survivor_is_busy) survivor_->GoOn();

  while (requests.size() < work.prompts.size()) SubmitNext(work, &requests);  // it died before their time
  AwaitAnswers(requests);
  Submit({"afterwards " + std::to_string(request_)}, &others);
  AwaitAnswers(others);
  for (size_t i = 0; i < requests.size(); ++i) {
    ExpectEmbedded(requests[i].prompts, *requests[i].call);
    const bool begun_twice = i >= trial.published && i < trial.taken;
    EXPECT_EQ(requests[i].call->ticket()->shards[0].attempts, begun_twice ? 2u : 1u) << "request " << i;
  }
  for (const Request& request : others) ExpectEmbedded(request.prompts, *request.call);
  EXPECT_EQ(lane.expired(), trial.published == 0) << "the dead replica's lane is kept for its answers alone";
  for (Request& request : requests) request.call->DropRows();
  EXPECT_TRUE(lane.expired()) << "the dead replica's lane is still held";
  ExpectNothingLeft();
  return trial;
}

Trial SteppedHouse::RunOne(const LiveReplica& process, const Work& work, const Run& run, Requests* requests) {
  Victim victim(process, bell_);
  // As while the lane thread sleeps: the victim's ring goes all the way through the kernel.
  bell_lines().sleeping.value = kAsleep;
  while (requests->size() < work.at_once) SubmitNext(work, requests);
  EXPECT_EQ(router_.Load().lanes[kVictim].shards, work.at_once) << "all of it is the victim's";
  run(victim, requests);
  const Visible seen = victim.Look();
  return {requests->size(), seen.taken, seen.published, IsIdleAgain(seen, work), false};
}

// As the supervisor does it, which hears of a death in either of two ways.
void SteppedHouse::Bury(LiveReplica& victim, const Trial& trial, const Requests& requests) {
  victim.Kill();
  const bool exit_is_the_first_sign = victim.lane()->identity().generation % 2 == 0;
  if (exit_is_the_first_sign) victim.AwaitExit();
  const TakenBack work = router_.OnDoomed(kVictim);
  victim.AwaitExit();
  EXPECT_EQ(work.committed, trial.published);
  EXPECT_EQ(work.requeued, trial.posted - trial.published);
  // The survivor had no word to say yet.
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool committed = i < trial.published;
    EXPECT_EQ(requests[i].call->answers(), committed) << "request " << i << " of " << trial.published;
    const Ticket& ticket = *requests[i].call->ticket();
    if (committed || ticket.answered()) continue;
    EXPECT_EQ(ticket.shards[0].suspect, i < trial.taken) << "request " << i << " of " << trial.taken;
  }
  const std::string reason = victim.Reap();
  EXPECT_EQ(reason, "signal 9 (Killed)");
  EXPECT_EQ(victim.Output(), "") << "it has nothing to complain of";
  router_.OnGone(kVictim, reason);
  victim.DropLane();
}

void SteppedHouse::AwaitAnswers(const Requests& requests) {
  const auto give_up = Router::Clock::now() + kLongEnough;
  for (;;) {
    router_.Reap(Router::Clock::now());
    if (std::ranges::all_of(requests, [](const Request& r) { return r.call->answers() > 0; })) return;
    ASSERT_FALSE(NothingUnderWay()) << "an answer is lost: nobody works on it any more";
    ASSERT_FALSE(survivor_->Exited()) << "the survivor died: " << survivor_->Output();
    ASSERT_LT(Router::Clock::now(), give_up) << "an answer is missing";
    sleeper_.Wait(std::chrono::milliseconds(100));
  }
}

bool SteppedHouse::NothingUnderWay() const {
  const RouterLoad load = router_.Load();
  return load.waiting_shards == 0 &&
         std::ranges::all_of(load.lanes, [](const RouterLoad::Lane& lane) { return lane.shards == 0; });
}

void SteppedHouse::ExpectNothingLeft() const {
  const RouterLoad load = router_.Load();
  EXPECT_EQ(load.requests, 0u);
  EXPECT_TRUE(NothingUnderWay());
  for (const RouterLoad::Lane& lane : load.lanes) EXPECT_EQ(lane.tokens, 0u);
  EXPECT_TRUE(kills_.empty()) << "a replica was to be killed: " << kills_[0];
}

void SteppedHouse::ExpectEmptyArenas() {
  // Requests of an eighth of the response arena, the largest that a shard may have: eight fill it.
  constexpr size_t kRequests = 8;
  const size_t rows = geometry_.response_arena_bytes / kRequests / RowBytes(router_.model()->dim);
  Requests requests;
  for (size_t i = 0; i < kRequests; ++i) Submit(std::vector<std::string>(rows, std::to_string(i)), &requests);
  EXPECT_EQ(router_.Load().lanes[kSurvivor].shards, kRequests) << "there is not room for all at once";
  AwaitAnswers(requests);
  for (const Request& request : requests) ExpectEmbedded(request.prompts, *request.call);
}

}  // namespace zerohop

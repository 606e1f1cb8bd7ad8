// The whole router with two replicas, one of which lies: its positions, its
// completions and its words are what the fuzzer says, and either may die at any
// time. Every call must be answered once and never with rows of another, and
// nobody but the liar may be accused.
//
// Input: u8 policy, then a script of steps, each one byte and its arguments; see Step.
// A step that cannot be now is left out. The liar writes honest floats into
// its rows: what an engine computes, nobody can check.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/lying_replica.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

constexpr uint32_t kReplicas = 2;
constexpr uint32_t kLiar = 1;
constexpr size_t kMostCalls = 64;  // so that one input does not take long

class RouterScript {
 public:
  explicit RouterScript(FuzzInput input) : input_(input), house_(Options(input_.Byte())) {
    for (uint32_t i = 0; i < kReplicas; ++i) Serve(i);
  }

  void Run() {
    while (!input_.AtEnd()) {
      Step();
      CheckAccused();
      CheckAnswers();
    }
    Finish();
  }

 private:
  enum Steps : uint8_t {
    kSubmit,         // u8 how many prompts, u8 how long
    kTake,           // u8 who: begins with one
    kAnswer,         // u8 who, u8 which it has begun, u8 status
    kAnswerDamaged,  // u8 which the liar has begun, u8 status, u8 from which byte, u8 how many, bytes
    kRepeat,         // u8 which of all that the liar ever said
    kScribbleLines,  // u16 where the liar does, u8 how many, bytes
    kReap,
    kDie,       // u8 who, killed or not; the next generation serves
    kWithdraw,  // u8 which call: its client leaves
    kAbort,     // u8 which call: by its id
    kDropRows,  // u8 which call: they are sent
    kStepCount
  };

  // What is known of a call.
  struct Known {
    TestCall* call;
    bool withdrawn = false;
    bool checked = false;  // its rows were, when they came: later they are in the liar's hands
  };
  // A replica as this test plays it.
  struct Player {
    uint64_t generation = 0;
    std::unique_ptr<LyingReplica> lane;
    uint64_t next = 0;              // in the submission ring, whatever the shared word says
    std::vector<Submission> begun;  // and not answered
    bool accused = false;           // once is enough
    uint32_t failures = 0;          // in a row
  };

  static RouterOptions Options(uint8_t policy) {
    RouterOptions options;
    options.replicas = kReplicas;
    options.policy = static_cast<Policy>(policy % 5);
    return options;
  }

  void Step();
  void Serve(uint32_t replica);
  void Replace(uint32_t replica);
  void CheckAccused();
  void Submit(size_t prompts, size_t bytes);
  void Take(Player& player);
  void Answer(uint32_t replica, bool damaged);
  static CompletionStatus Honest(CompletionStatus status, Player& player);
  void Say(uint32_t replica, const Completion& completion);
  void CheckAnswers();
  void CheckAnswer(Known& known);
  void Finish();

  template <typename T>
  T* Some(std::vector<T>& all) {
    const uint8_t which = input_.Byte();
    return all.empty() ? nullptr : &all[which % all.size()];
  }

  FuzzInput input_;
  RouterHouse house_;
  Player players_[kReplicas];
  uint64_t generations_ = 0;
  std::vector<Known> calls_;
  std::vector<Completion> said_;  // by the liar, in all its generations
  size_t kills_seen_ = 0;
  size_t failures_ = 0;  // reasons to try a shard again
  bool rejected_ = false;
};

void RouterScript::Serve(uint32_t replica) {
  FakeReplica& served = house_.Serve(replica);
  players_[replica] = {
      ++generations_, std::make_unique<LyingReplica>(served.lane(), house_.geometry), 0, {}, false, 0};
}

void RouterScript::Replace(uint32_t replica) {
  ++failures_;
  house_.Die(replica);
  Serve(replica);
}

// Who is killed is a step of its own later: an exit takes time, and the router lives with a dying replica.
void RouterScript::CheckAccused() {
  for (; kills_seen_ < house_.kills.size(); ++kills_seen_) {
    const RouterHouse::Kill& kill = house_.kills[kills_seen_];
    FUZZ_CHECK(kill.replica == kLiar && kill.generation == players_[kLiar].generation);
    FUZZ_CHECK(!std::exchange(players_[kLiar].accused, true));
  }
}

void RouterScript::Step() {
  switch (static_cast<Steps>(input_.Byte() % kStepCount)) {
    case kSubmit: {
      const size_t prompts = 1 + input_.Byte() % 40;
      return Submit(prompts, input_.Byte());
    }
    case kTake:
      return Take(players_[input_.Byte() % kReplicas]);
    case kAnswer:
      return Answer(input_.Byte() % kReplicas, /*damaged=*/false);
    case kAnswerDamaged:
      return Answer(kLiar, /*damaged=*/true);
    case kRepeat:
      if (const Completion* old = Some(said_)) Say(kLiar, *old);
      return;
    case kScribbleLines: {
      const uint16_t where = input_.Word();
      return players_[kLiar].lane->ScribbleLines(where, input_.Take(input_.Byte() % 32));
    }
    case kReap:
      return house_.Reap();
    case kDie:
      return Replace(input_.Byte() % kReplicas);
    case kWithdraw:
      if (Known* known = Some(calls_)) {
        house_.router().Cancel(*known->call->ticket());
        known->withdrawn = true;
      }
      return;
    case kAbort:
      if (Known* known = Some(calls_)) {
        const size_t live = known->call->answers() == 0;
        FUZZ_CHECK(house_.router().Abort(known->call->ticket()->request_id.view()) == live);
        known->withdrawn = true;
      }
      return;
    case kDropRows:
      if (Known* known = Some(calls_); known != nullptr && known->checked) known->call->DropRows();
      return;
    case kStepCount:
      return;
  }
}

// No two prompts are alike, so that a row of another is seen.
void RouterScript::Submit(size_t prompts, size_t bytes) {
  if (calls_.size() == kMostCalls) return;
  const std::string id = "call " + std::to_string(calls_.size());
  std::vector<std::string> texts;
  for (size_t i = 0; i < prompts; ++i) {
    texts.push_back(id + " prompt " + std::to_string(i));
    texts.back().resize(std::max(bytes, texts.back().size()), '.');
  }
  calls_.push_back({&house_.Submit(std::move(texts), id, static_cast<int32_t>(bytes % 3))});
}

void RouterScript::Take(Player& player) {
  if (player.next == player.lane->broker_lines().submission_tail.value) return;
  player.begun.push_back(player.lane->submission(player.next++));
  ++player.lane->lines().submission_head.value;
}

void RouterScript::Answer(uint32_t replica, bool damaged) {
  Player& player = players_[replica];
  const Submission* some = Some(player.begun);
  if (some == nullptr) return;
  const Submission submission = *some;
  player.begun.erase(player.begun.begin() + (some - player.begun.data()));
  auto status = static_cast<CompletionStatus>(input_.Byte() % 4);
  if (replica != kLiar) status = Honest(status, player);
  Completion completion = CompletionOf(submission, status);
  // Whatever the status is: damage may make it another.
  house_.replica(replica).WriteRows(submission);
  if (damaged) {
    const size_t from = input_.Byte() % sizeof completion;
    const std::string_view bytes = input_.Take(input_.Byte() % 9);
    std::memcpy(reinterpret_cast<char*>(&completion) + from, bytes.data(),
                std::min(bytes.size(), sizeof completion - from));
  }
  if (replica == kLiar) said_.push_back(completion);
  Say(replica, completion);
}

// An honest replica withdraws nothing by itself, and an engine that always fails is replaced, too.
CompletionStatus RouterScript::Honest(CompletionStatus status, Player& player) {
  const bool may_fail = player.failures + 1 < ReplicaConduct::kMostFailures;
  if (status == CompletionStatus::kWithdrawn || (status == CompletionStatus::kFailed && !may_fail)) {
    status = CompletionStatus::kOk;
  }
  if (status == CompletionStatus::kFailed) ++player.failures;
  if (status == CompletionStatus::kOk) player.failures = 0;
  return status;
}

void RouterScript::Say(uint32_t replica, const Completion& completion) {
  // Not what was meant: damage may have turned it into any of them.
  failures_ += completion.status == 2 || completion.status == 3;
  rejected_ |= completion.status == 1;
  players_[replica].lane->Publish(completion);
}

void RouterScript::CheckAnswers() {
  for (Known& known : calls_) {
    if (!known.checked && known.call->answers() > 0) CheckAnswer(known);
    FUZZ_CHECK(known.call->answers() <= 1);
  }
}

// It has a reason that really was, or its own rows.
void RouterScript::CheckAnswer(Known& known) {
  known.checked = true;
  switch (known.call->outcome()) {
    case Outcome::kEmbedded:
      FUZZ_CHECK(known.call->HasRightRows());
      return;
    case Outcome::kInvalid:
      FUZZ_CHECK(rejected_);
      return;
    case Outcome::kReplicaLost:
      FUZZ_CHECK(failures_ >= Router::kMaxAttempts);
      return;
    case Outcome::kWithdrawn:
      FUZZ_CHECK(known.withdrawn);
      return;
    case Outcome::kExpired:
    case Outcome::kNoReplica:
    case Outcome::kOverloaded:
    case Outcome::kLeaving:
      FUZZ_CHECK(false && "one of two replicas serves, few calls wait, nobody leaves or has a deadline");
  }
}

// An honest replica in the liar's place, and both work until nothing is left.
void RouterScript::Finish() {
  Replace(kLiar);
  for (const Submission& submission : players_[0].begun) house_.replica(0).Answer(submission);
  for (size_t some = 1; some > 0;) {
    some = 0;
    house_.Reap();
    for (Player& player : players_) {
      player.begun.clear();
      while (player.next != player.lane->broker_lines().submission_tail.value) Take(player);
    }
    for (uint32_t i = 0; i < kReplicas; ++i) {
      for (const Submission& submission : players_[i].begun) house_.replica(i).Answer(submission);
      some += players_[i].begun.size();
    }
  }
  CheckAccused();
  CheckAnswers();
  for (const Known& known : calls_) FUZZ_CHECK(known.call->answers() == 1);
  FUZZ_CHECK(!players_[kLiar].accused);  // it was replaced by an honest one
  const RouterLoad load = house_.router().Load();
  FUZZ_CHECK(load.requests == 0 && load.waiting_shards == 0);
  for (const RouterLoad::Lane& lane : load.lanes) FUZZ_CHECK(lane.shards == 0 && lane.tokens == 0);
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  zerohop::RouterScript(zerohop::FuzzInput(bytes, size)).Run();
  return 0;
}

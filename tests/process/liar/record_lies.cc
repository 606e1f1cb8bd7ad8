// Lies told in completions, rows and the order of both.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "tests/process/liar/lie.h"

namespace zerohop {
namespace {

std::mt19937_64& Random() {
  static std::mt19937_64 random(std::random_device{}());
  return random;
}

void SetOutcome(Completion* completion, CompletionStatus status) {
  completion->status = static_cast<uint32_t>(status);
  completion->rows = 0;
}

// As many bytes of noise as a detail may have; how many there are.
uint32_t WriteNoise(std::span<std::byte> response) {
  const size_t length = std::min<size_t>(response.size(), 1024);
  for (size_t i = 0; i < length; ++i) response[i] = static_cast<std::byte>(Random()());
  return static_cast<uint32_t>(length);
}

void CompleteTwice(Stage&, Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  const Completion completion = hand.Answer(submission);
  Confess();
  (void)hand.Publish(completion);
  (void)hand.Publish(completion);
}

// Publishes what was completed `later` submissions ago once more: its slot has been used again since.
void ReplayLater(Hand& hand, size_t later) {
  std::vector<Completion> said;
  while (said.size() < later) {
    Submission submission;
    if (!hand.Take(&submission)) continue;
    said.push_back(hand.Answer(submission));
    (void)hand.Publish(said.back());
  }
  Confess();
  for (const Completion& completion : said) (void)hand.Publish(completion);
}

void HoldWork(Hand& hand) {
  for (Submission submission;;) {
    if (hand.Take(&submission)) Confess();
  }
}

void NeverTake(Stage& stage) {
  for (;;) {
    stage.lane.heartbeat().Enter(Phase::kIdle);
    stage.lane.WaitForWork(std::chrono::milliseconds(20));
    if (stage.lane.HasSubmission()) Confess();
  }
}

// Legal: nobody said in which order.
void CompleteInReverse(Hand& hand) {
  std::vector<Completion> held;
  Submission submission;
  for (int tries = 0; held.size() < 4 && tries < 3; ++tries) {
    if (hand.Take(&submission)) held.push_back(hand.Answer(submission));
  }
  for (auto completion = held.rbegin(); completion != held.rend(); ++completion)
    (void)hand.Publish(*completion);
  if (held.size() > 1) Confess();
}

// Answers rightly what it never took: the head stands still.
void CompleteWithoutTaking(Stage& stage, Hand& hand) {
  uint64_t at = stage.raw.lines().submission_head.value.load();
  for (;;) {
    if (at == stage.raw.submission_tail()) {
      stage.lane.heartbeat().Enter(Phase::kIdle);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      continue;
    }
    stage.lane.heartbeat().Enter(Phase::kRunning);
    Confess();
    if (!hand.Publish(hand.Answer(stage.raw.submission(at++)))) return;
  }
}

void CompleteWithoutRinging(Stage& stage, Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  (void)stage.lane.Complete(hand.Answer(submission));
  Confess();
}

// The first that it takes is forgotten, all others are served.
void LoseOne(Hand& hand) {
  Submission lost, submission;
  while (!hand.Take(&lost)) {
  }
  Confess();
  for (;;) {
    if (hand.Take(&submission)) (void)hand.Publish(hand.Answer(submission));
  }
}

// Writes both bytes by turns, for longer than the broker takes to look and the front to send.
void Flip(std::span<std::byte> where, char one, char other) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3);
  for (bool turn = false; std::chrono::steady_clock::now() < end; turn = !turn) {
    std::memset(where.data(), turn ? one : other, where.size());
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler must not think the next one enough
  }
  std::memset(where.data(), one, where.size());
}

// The detail changes while it is read.
void RejectWithRestlessDetail(Stage& stage, Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  const std::span<std::byte> response = stage.raw.response(submission);
  Completion completion = hand.Answer(submission);
  SetOutcome(&completion, CompletionStatus::kRejected);
  completion.detail_length = static_cast<uint32_t>(std::min<size_t>(response.size(), 1024));
  std::memset(response.data(), 'A', completion.detail_length);
  Confess();
  (void)hand.Publish(completion);
  Flip(response.first(completion.detail_length), 'A', '\a');
}

// All floats change while they are sent, to bytes that look like the beginnings of rows.
void ChangeRowsLate(Stage& stage, Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  const Completion completion = hand.Answer(submission);
  Confess();
  (void)hand.Publish(completion);
  Flip(stage.raw.response(submission), '\x22', '\x7f');
}

void ExitAmidWork(Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  Confess();
  ::_exit(0);
}

// Changes the completion alone.
Lie Changes(void (*change)(Completion* completion)) {
  return Record{[change](Stage&, const Submission&, Completion* completion) { change(completion); }};
}

const std::map<std::string_view, Lie>& Lies() {
  static const std::map<std::string_view, Lie> lies{
      {"one_row_more", Changes([](Completion* c) { ++c->rows; })},
      {"no_rows", Changes([](Completion* c) { c->rows = 0; })},
      {"unknown_status", Changes([](Completion* c) { c->status = 4; })},
      {"random_slot",
       Changes([](Completion* c) { c->slot = static_cast<uint32_t>(Random()()) | 0x80000000u; })},
      {"idle_slot", Changes([](Completion* c) { c->slot = (c->slot + 512) % 1024; })},
      {"foreign_cookie", Changes([](Completion* c) { c->cookie ^= 1; })},
      {"detail_beside_rows", Changes([](Completion* c) { c->detail_length = 1; })},
      {"endless_detail", Changes([](Completion* c) {
         SetOutcome(c, CompletionStatus::kFailed);
         c->detail_length = ~0u;
       })},
      {"failed_prompt_beyond_the_last", Record{[](Stage&, const Submission& s, Completion* c) {
         SetOutcome(c, CompletionStatus::kRejected);
         c->failed_prompt = s.rows;
       }}},
      {"random_completion", Changes([](Completion* c) {
         auto* bytes = reinterpret_cast<uint8_t*>(c);
         for (size_t i = 0; i < sizeof *c; ++i) bytes[i] = static_cast<uint8_t>(Random()());
       })},
      {"withdraws", Changes([](Completion* c) { SetOutcome(c, CompletionStatus::kWithdrawn); })},
      {"fails_with_noise", Record{[](Stage& stage, const Submission& s, Completion* c) {
                                    SetOutcome(c, CompletionStatus::kFailed);
                                    c->detail_length = WriteNoise(stage.raw.response(s));
                                  },
                                  /*writes_rows=*/false}},
      {"completes_twice", Flow{CompleteTwice}},
      {"replays_at_once", Flow{[](Stage&, Hand& hand) { ReplayLater(hand, 1); }}},
      {"replays_later", Flow{[](Stage&, Hand& hand) { ReplayLater(hand, 40); }}},
      {"never_completes", Flow{[](Stage&, Hand& hand) { HoldWork(hand); }}},
      {"never_takes", Flow{[](Stage& stage, Hand&) { NeverTake(stage); }}},
      {"out_of_order", Flow{[](Stage&, Hand& hand) { CompleteInReverse(hand); }}},
      {"completes_without_taking", Flow{CompleteWithoutTaking}},
      {"completes_without_ringing", Flow{CompleteWithoutRinging}},
      {"loses_one", Flow{[](Stage&, Hand& hand) { LoseOne(hand); }}},
      {"restless_detail", Flow{RejectWithRestlessDetail}},
      {"changes_rows_late", Flow{ChangeRowsLate}},
      {"exits_amid_work", Flow{[](Stage&, Hand& hand) { ExitAmidWork(hand); }}},
  };
  return lies;
}

}  // namespace

const Lie* FindRecordLie(std::string_view name) {
  const auto found = Lies().find(name);
  return found == Lies().end() ? nullptr : &found->second;
}

}  // namespace zerohop

// The completion check: a LanePort on a real lane, against a replica that
// writes whatever it likes wherever it may. lane_model.h says what the broker must
// believe; the port must believe that and no more, end every shard once, and
// keep its books right whatever was written.
//
// Input: a script of steps, each one byte and its arguments; see Step.
// A step that cannot be now is left out.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "broker/lanes/lane_port.h"
#include "broker/router/ticket.h"
#include "shm/row.h"
#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/lane_model.h"

namespace zerohop {
namespace {

constexpr uint32_t kDim = 100;
constexpr uint32_t kCells = 16;
constexpr uint64_t kArena = 64 << 10;
constexpr uint64_t kCredit = 200;
// A prompt takes as much of one arena as a row takes of the other.
constexpr uint32_t kPromptBytes = 400;
// How many prompts a shard may have: some, parts of an arena, and so many that they need more than half of
// either arena, hence all of it.
constexpr uint32_t kCounts[] = {1, 2, 3, 5, 10, 20, 40, 82};
constexpr uint32_t kWholeArena = 82;

// One request of many prompts, in two pieces; every shard is cut from it.
struct Source {
  Source() {
    for (uint32_t i = 0; i < kWholeArena + 8; ++i) {
      std::string prompt = "prompt " + std::to_string(i);
      prompt.resize(kPromptBytes, '.');
      body.prompts.push_back({bytes.size(), kPromptBytes});
      bytes += prompt;
    }
    const auto all = std::as_bytes(std::span<const char>(bytes));
    body.AddPiece(all.first(bytes.size() / 3));
    body.AddPiece(all.subspan(bytes.size() / 3));
  }
  std::string bytes;
  RequestBody body;
};

// Rows that were handed out, as the front holds them until they are sent.
struct HeldRows {
  RowBlock rows;
  uint64_t offset = 0;  // of the region
  bool in_arena = false;
};

class LaneScript {
 public:
  explicit LaneScript(FuzzInput input) : input_(input) {
    EngineInfo info;
    info.dim = kDim;
    port_ = std::make_unique<LanePort>(lane_, bell_.ringer(), info, Credit{kCredit});
    heartbeat_ = lane_->MakeHeartbeatReader(now_);
  }

  void Run() {
    while (!input_.AtEnd()) {
      Step();
      CheckBooks();
    }
    if (port_->garbage().empty()) Settle();
    Abandon();
  }

 private:
  enum Steps : uint8_t {
    kPost,               // u8 which count, u8 first prompt, u8 tokens
    kComplete,           // u8 which in flight, u8 status
    kCompleteDamaged,    // the same, then u8 from which byte of the completion, u8 how many, bytes
    kScribbleLines,      // u16 where, u8 how many, bytes
    kScribbleResponses,  // u8 which in flight, u16 how far in, u8 how many, bytes
    kSetTail,            // u8 by how much beyond what was taken, less 4
    kSetHead,            // u8 likewise, beyond what was published, less 20
    kReap,
    kDropRows,  // u8 which
    kWithdraw,  // u8 whose
    kLook,      // heartbeat and ready word
    kSettle,    // an honest end of all that is in flight
    kStepCount
  };

  void Step();
  void Post(uint32_t count, uint32_t first, uint64_t tokens);
  void CheckPosted(const ShardRef& shard);
  void CheckRefused(PostResult result, const Shard& shard);
  void CompleteOne(bool damaged);
  Completion Honest(const Posted& posted, uint32_t status);
  void Reap();
  void Believe(const Belief& belief, bool sane, std::vector<Finished>* finished);
  void Keep(const Posted& posted, const Completion& completion, Finished& finished);
  void Look();
  void Withdraw();
  void Settle();
  void Abandon();
  void CheckBooks();

  bool ArenaIsFree() const {
    return in_flight_.empty() &&
           std::none_of(held_.begin(), held_.end(), [](const HeldRows& held) { return held.in_arena; });
  }
  // An offset into what there is; only asked where there is something.
  template <typename T>
  size_t Which(const std::vector<T>& all) {
    return input_.Byte() % all.size();
  }

  FuzzInput input_;
  BrokerBell bell_ = Must(BrokerBell::Create());
  std::shared_ptr<BrokerLane> lane_ =
      std::make_shared<BrokerLane>(Must(BrokerLane::Create({1, 5, 0}, SmallGeometry())));
  ReplicaLane replica_lane_ = AttachTo(*lane_, bell_);
  LyingReplica replica_{replica_lane_, lane_->geometry()};
  Ticket tickets_[2];  // whose they are matters to Withdraw alone
  std::chrono::steady_clock::time_point now_{};
  HeartbeatReader heartbeat_;
  uint64_t beat_ = 0;
  std::unique_ptr<LanePort> port_;
  // What the test knows.
  std::vector<Posted> in_flight_;  // oldest first
  std::vector<HeldRows> held_;
  size_t posted_ = 0, ended_ = 0;
  uint64_t taken_at_garbage_ = 0;
};

void LaneScript::Step() {
  switch (static_cast<Steps>(input_.Byte() % kStepCount)) {
    case kPost: {
      const uint32_t count = kCounts[input_.Byte() % std::size(kCounts)];
      const uint32_t first = input_.Byte() % 8;
      return Post(count, first, 1 + input_.Byte() % 64);
    }
    case kComplete:
      return CompleteOne(/*damaged=*/false);
    case kCompleteDamaged:
      return CompleteOne(/*damaged=*/true);
    case kScribbleLines: {
      const uint16_t where = input_.Word();
      return replica_.ScribbleLines(where, input_.Take(input_.Byte() % 32));
    }
    case kScribbleResponses: {
      if (in_flight_.empty()) return;
      const uint64_t region = in_flight_[Which(in_flight_)].submission.response_offset;
      const uint16_t where = input_.Word();
      return replica_.ScribbleResponses(region + where, input_.Take(input_.Byte() % 32));
    }
    case kSetTail:
      replica_.lines().completion_tail.value =
          replica_.broker_lines().completion_head.value + input_.Byte() - 4;
      return;
    case kSetHead:
      replica_.lines().submission_head.value =
          replica_.broker_lines().submission_tail.value + input_.Byte() - 20;
      return;
    case kReap:
      return Reap();
    case kDropRows:
      if (!held_.empty()) held_.erase(held_.begin() + static_cast<ptrdiff_t>(Which(held_)));
      return;
    case kWithdraw:
      return Withdraw();
    case kLook:
      return Look();
    case kSettle:
      if (port_->garbage().empty()) Settle();
      return;
    case kStepCount:
      return;
  }
}

// As the router posts: where there is credit, or alone.
void LaneScript::Post(uint32_t count, uint32_t first, uint64_t tokens) {
  static const Source source;
  const bool alone = in_flight_.empty() && port_->garbage().empty();
  if (!port_->HasCredit() && !alone) return;
  auto shard = std::make_shared<Shard>();
  shard->ticket = &tickets_[first % 2];
  shard->body = &source.body;
  shard->first = first;
  shard->count = count;
  shard->tokens = tokens;
  shard->request_bytes = uint64_t{count} * kPromptBytes;
  const bool quiet = tokens % 2 == 1;
  const bool must_fit = ArenaIsFree();
  const PostResult result = port_->Post(shard, quiet);
  if (result != PostResult::kPosted) {
    FUZZ_CHECK(!must_fit || result == PostResult::kCorrupt);
    return CheckRefused(result, *shard);
  }
  FUZZ_CHECK(must_fit || count != kWholeArena);
  FUZZ_CHECK(replica_.broker_lines().quiet.value == quiet);
  CheckPosted(shard);
  // The prompts are there, and nothing else.
  const std::byte* prompts = replica_.request(in_flight_.back().submission.request_offset) + count * 4;
  FUZZ_CHECK(std::memcmp(prompts, source.bytes.data() + first * kPromptBytes, count * kPromptBytes) == 0);
}

// The record names regions inside the arenas that nothing else lies in.
void LaneScript::CheckPosted(const ShardRef& shard) {
  FUZZ_CHECK(port_->garbage().empty() && shard->attempts == 1);
  const uint64_t position = replica_.broker_lines().submission_tail.value - 1;
  const Submission submission = replica_.submission(position);
  FUZZ_CHECK(submission.rows == shard->count && submission.dim == kDim && submission.slot < kCells);
  FUZZ_CHECK(submission.response_length == shard->count * RowBytes(kDim));
  FUZZ_CHECK(submission.response_offset + submission.response_length <= kArena);
  FUZZ_CHECK(submission.request_offset + submission.request_length <= kArena);
  const auto apart = [](uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) {
    return a + a_bytes <= b || b + b_bytes <= a;
  };
  for (const Posted& other : in_flight_) {
    const Submission& s = other.submission;
    FUZZ_CHECK(s.slot != submission.slot && s.cookie != submission.cookie);
    FUZZ_CHECK(
        apart(s.request_offset, s.request_length, submission.request_offset, submission.request_length));
    FUZZ_CHECK(
        apart(s.response_offset, s.response_length, submission.response_offset, submission.response_length));
  }
  for (const HeldRows& held : held_) {
    FUZZ_CHECK(!held.in_arena || apart(held.offset, held.rows.bytes().size(), submission.response_offset,
                                       submission.response_length));
  }
  in_flight_.push_back({shard, submission, position});
  ++posted_;
}

// A shard that was not posted is as it was; only an impossible head is garbage.
void LaneScript::CheckRefused(PostResult result, const Shard& shard) {
  FUZZ_CHECK(shard.attempts == 0);
  FUZZ_CHECK((result == PostResult::kCorrupt) == !port_->garbage().empty());
  if (result != PostResult::kCorrupt) return;
  FUZZ_CHECK(replica_.broker_lines().submission_tail.value - replica_.lines().submission_head.value >=
             kCells);
  taken_at_garbage_ = replica_.broker_lines().completion_head.value;
}

Completion LaneScript::Honest(const Posted& posted, uint32_t status) {
  Completion completion{};
  completion.cookie = posted.submission.cookie;
  completion.slot = posted.submission.slot;
  completion.status = status;
  if (status == 0) {
    completion.rows = posted.submission.rows;
  } else {
    completion.failed_prompt = posted.submission.rows - 1;
    completion.detail_length = posted.submission.response_length;  // whatever lies there
  }
  return completion;
}

void LaneScript::CompleteOne(bool damaged) {
  if (in_flight_.empty()) return;
  const Posted& posted = in_flight_[Which(in_flight_)];
  Completion completion = Honest(posted, input_.Byte() % 4);
  if (damaged) {
    const size_t from = input_.Byte() % sizeof completion;
    const std::string_view bytes = input_.Take(input_.Byte() % 9);
    std::memcpy(reinterpret_cast<char*>(&completion) + from, bytes.data(),
                std::min(bytes.size(), sizeof completion - from));
  }
  replica_.Publish(completion);
}

void LaneScript::Reap() {
  const bool sane = port_->garbage().empty();
  const Belief belief = Judge(in_flight_, replica_, kCells);
  std::vector<Finished> finished;
  FUZZ_CHECK(port_->Reap(&finished) == (sane && !belief.garbage));
  Believe(belief, sane, &finished);
}

// What was taken off the lane is what the model took; after garbage, nothing.
void LaneScript::Believe(const Belief& belief, bool sane, std::vector<Finished>* finished) {
  const uint64_t head = replica_.broker_lines().completion_head.value;
  if (!sane) {
    FUZZ_CHECK(finished->empty() && head == taken_at_garbage_);
    return;
  }
  FUZZ_CHECK(finished->size() == belief.finished.size());
  FUZZ_CHECK(port_->garbage().empty() == !belief.garbage);
  for (size_t i = 0; i < finished->size(); ++i) {
    const Posted& posted = belief.finished[i];
    FUZZ_CHECK((*finished)[i].shard == posted.shard);
    Keep(posted, belief.completions[i], (*finished)[i]);
    std::erase_if(in_flight_, [&](const Posted& other) { return other.shard == posted.shard; });
    ++ended_;
  }
  if (belief.garbage) taken_at_garbage_ = head;
}

void LaneScript::Keep(const Posted& posted, const Completion& completion, Finished& finished) {
  FUZZ_CHECK(static_cast<uint32_t>(finished.status) == completion.status);
  const std::span<const std::byte> bytes = finished.rows.bytes();
  if (finished.status != CompletionStatus::kOk) {
    FUZZ_CHECK(bytes.empty() && finished.detail.size() <= kMaxDetailBytes && IsCleanText(finished.detail));
    FUZZ_CHECK(finished.detail.size() <= completion.detail_length);
    FUZZ_CHECK(finished.failed_prompt == completion.failed_prompt);
    return;
  }
  FUZZ_CHECK(finished.detail.empty() && bytes.size() == posted.submission.response_length);
  const std::byte* region = lane_->response(posted.submission.response_offset);
  // In place, or copied out of there.
  FUZZ_CHECK(std::memcmp(bytes.data(), region, bytes.size()) == 0);
  held_.push_back({std::move(finished.rows), posted.submission.response_offset, bytes.data() == region});
}

void LaneScript::Look() {
  now_ += std::chrono::seconds(1);
  heartbeat_.Look(now_);
  const uint64_t beat = replica_.lines().heartbeat.beat;
  FUZZ_CHECK(static_cast<uint32_t>(heartbeat_.phase()) <= 2);
  FUZZ_CHECK(heartbeat_.HasBeaten() == (beat != 0));
  FUZZ_CHECK((heartbeat_.BeatSilentFor(now_).count() == 0) == (beat != beat_));
  beat_ = beat;
  FUZZ_CHECK(lane_->Ready() == (replica_.header().ready == lane_->identity().generation));
}

void LaneScript::Withdraw() {
  const Ticket& ticket = tickets_[input_.Byte() % 2];
  port_->Withdraw(ticket);
  for (const Posted& posted : in_flight_) {
    const bool asked = replica_.cancel_word(posted.submission.slot) == posted.submission.cookie;
    FUZZ_CHECK(asked || posted.shard->ticket != &ticket);
  }
}

// The replica mends its words and ends all that it has. Then nothing may be missing: once the rows are sent,
// there is room for a shard that needs all of both arenas.
void LaneScript::Settle() {
  replica_.lines().submission_head.value = replica_.broker_lines().submission_tail.value.load();
  replica_.lines().completion_tail.value = replica_.broker_lines().completion_head.value.load();
  for (const Posted& posted : in_flight_) replica_.Publish(Honest(posted, posted.submission.slot % 4));
  Reap();
  FUZZ_CHECK(port_->garbage().empty() && in_flight_.empty());
  CheckBooks();
  held_.clear();
  Post(kWholeArena, 0, 1);
  FUZZ_CHECK(in_flight_.size() == 1);
}

// The replica died. What it had committed counts, the rest is told oldest first.
void LaneScript::Abandon() {
  const bool sane = port_->garbage().empty();
  const Belief belief = Judge(in_flight_, replica_, kCells);
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port_->Abandon(&finished, &orphans);
  Believe(belief, sane, &finished);
  const uint64_t tail = replica_.broker_lines().submission_tail.value;
  const uint64_t head = replica_.lines().submission_head.value;
  FUZZ_CHECK(orphans.size() == in_flight_.size());
  for (size_t i = 0; i < orphans.size(); ++i) {
    FUZZ_CHECK(orphans[i].shard == in_flight_[i].shard);
    // A head that cannot be says nothing: then all may have been begun.
    FUZZ_CHECK(orphans[i].taken == (tail - head > kCells || in_flight_[i].position < head));
  }
  ended_ += orphans.size();
  FUZZ_CHECK(ended_ == posted_);
}

void LaneScript::CheckBooks() {
  uint64_t tokens = 0;
  for (const Posted& posted : in_flight_) tokens += posted.shard->tokens;
  FUZZ_CHECK(port_->tokens_in_flight() == tokens && port_->shards_in_flight() == in_flight_.size());
  const bool sane = port_->garbage().empty();
  FUZZ_CHECK(port_->HasCredit() == (sane && tokens < kCredit && in_flight_.size() < kCells));
  const bool more = replica_.lines().completion_tail.value != replica_.broker_lines().completion_head.value;
  FUZZ_CHECK(port_->HasCompletion() == (sane && more));
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  zerohop::LaneScript(zerohop::FuzzInput(bytes, size)).Run();
  return 0;
}

#include "broker/lanes/lane_port.h"

#include <algorithm>

#include "shm/printable.h"
#include "shm/prompt_block.h"
#include "shm/random_bits.h"
#include "shm/row.h"

namespace zerohop {
namespace {

// Rows are copied out of the arena, and their region freed at once, while less than this part of it is free:
// answers to slow clients must not starve the lane. So are, by way of the host, rows that were to stay on the
// device until a consumer has them.
constexpr uint64_t kScarceFraction = 4;

// About what it takes until a replica that sleeps runs.
constexpr double kWakeNs = 40'000;
// No engine is so slow; what it is, completions tell.
constexpr double kSlowestNsPerToken = 1e9;

// A step of SplitMix64: every cookie of a lane differs from all others, and says nothing of the next.
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

LanePort::LanePort(std::shared_ptr<BrokerLane> lane, BellRinger broker_bell, const EngineInfo& info,
                   Credit credit, int cpu, CopyEngine* copies)
    : memory_(std::make_shared<LaneMemory>(std::move(lane), broker_bell)),
      requests_(memory_->lane().geometry().request_arena_bytes),
      responses_(memory_->lane().geometry().response_arena_bytes),
      slots_(memory_->lane().geometry().ring_cells),
      dim_(info.dim),
      batch_tokens_(std::max(1u, info.batch_tokens)),
      batch_prompts_(std::max(1u, info.batch_prompts)),
      credit_(credit),
      cpu_(cpu),
      copies_(copies),
      ns_per_token_(kSlowestNsPerToken),
      next_cookie_(RandomBits()) {
  for (uint32_t i = static_cast<uint32_t>(slots_.size()); i-- > 0;) free_slots_.push_back(i);
}

PostResult LanePort::Post(const ShardRef& shard, bool quiet) {
  CollectReleased();
  const uint64_t request_bytes = PromptTableBytes(shard->count) + shard->request_bytes;
  const uint64_t response_bytes = shard->count * RowBytes(dim_);
  const auto request = requests_.Allocate(request_bytes);
  if (!request) return PostResult::kNoRoom;
  const auto response = AllocateResponse(response_bytes);
  if (!response) {
    requests_.Free(*request);
    return PostResult::kNoRoom;
  }
  // The one copy in.
  PromptBlockWriter block(memory_->lane().request(*request), shard->count);
  for (uint32_t i = shard->first; i < shard->first + shard->count; ++i) {
    const PromptPlace& prompt = shard->body->prompts[i];
    shard->body->CopyOut(prompt.offset, prompt.length, block.Append(prompt.length));
  }
  const uint32_t slot = free_slots_.back();
  InFlight& entry = slots_[slot];
  Submission& submission = entry.submission;
  submission = {};
  submission.cookie = Mix(next_cookie_ += 0x9e3779b97f4a7c15);
  submission.deadline_monotonic_ns = shard->deadline_monotonic_ns;
  submission.request_offset = *request;
  submission.request_length = static_cast<uint32_t>(request_bytes);
  submission.response_offset = *response;
  submission.response_length = static_cast<uint32_t>(response_bytes);
  submission.slot = slot;
  submission.rows = shard->count;
  submission.dim = dim_;
  submission.kind = static_cast<uint32_t>(shard->body->kind);
  submission.priority = shard->priority;
  entry.position = memory_->lane().Published();
  memory_->lane().SetQuiet(quiet);
  // Never full: there are as many slots as cells. Anything else is a position that the replica invented.
  if (memory_->lane().Submit(submission) != RingResult::kDone) {
    garbage_ = "garbage: the submission ring's head is impossible";
    requests_.Free(*request);
    responses_.Free(*response);
    return PostResult::kCorrupt;
  }
  free_slots_.pop_back();
  entry.shard = shard;
  ++shard->attempts;
  tokens_ += shard->tokens;
  prompts_ += shard->count;
  return PostResult::kPosted;
}

std::optional<uint64_t> LanePort::AllocateResponse(uint64_t bytes) {
  auto region = responses_.Allocate(bytes);
  if (region) {
    memory_->SetStarved(false);
    return region;
  }
  // Looked for once more after the flag is up: a release in between rings the bell or is found here.
  memory_->SetStarved(true);
  CollectReleased();
  region = responses_.Allocate(bytes);
  if (region) memory_->SetStarved(false);
  return region;
}

void LanePort::CollectReleased() {
  uint64_t offset;
  while (memory_->TakeReleased(&offset)) responses_.Free(offset);
}

bool LanePort::Reap(std::vector<Finished>* finished) {
  uint32_t slot;
  while (memory_->TakeLanded(&slot)) FinishLanded(slot, finished);
  if (garbage_.empty() && DeviceIsLost())
    garbage_ = "its device is lost to the broker: " + copies_->home().reason();
  Completion completion;
  while (garbage_.empty()) {
    const RingResult taken = memory_->lane().TakeCompletion(&completion);
    if (taken == RingResult::kEmpty) break;
    if (taken != RingResult::kDone) {
      garbage_ = "garbage: the completion ring's tail is impossible";
    } else if (!FinishOne(completion, finished)) {
      break;
    }
  }
  return garbage_.empty();
}

bool LanePort::FinishOne(const Completion& completion, std::vector<Finished>* finished) {
  const bool known =
      completion.slot < slots_.size() && slots_[completion.slot].shard && !slots_[completion.slot].landing;
  const Submission* expected = known ? &slots_[completion.slot].submission : nullptr;
  const CompletionVerdict verdict = Check(completion, expected);
  if (verdict != CompletionVerdict::kGood) {
    garbage_ = "garbage: a completion " + std::string(Describe(verdict));
    return false;
  }
  const auto status = static_cast<CompletionStatus>(completion.status);
  if (status == CompletionStatus::kOk) {
    LearnPace(completion, *slots_[completion.slot].shard);
    if (copies_ != nullptr && (!slots_[completion.slot].shard->stays_on_device || RoomIsScarce())) {
      Land(completion.slot);
      return true;
    }
  }
  const InFlight entry = EmptySlot(completion.slot);
  Finished& done = finished->emplace_back();
  done.shard = entry.shard;
  done.status = status;
  done.failed_prompt = completion.failed_prompt;
  if (status == CompletionStatus::kOk) {
    done.rows = copies_ == nullptr ? TakeRows(entry.submission)
                                   : RowBlock::OnDevice(memory_, entry.submission.response_offset,
                                                        entry.submission.response_length);
  } else {
    const std::byte* detail = memory_->lane().response(entry.submission.response_offset);
    // Copied first: the replica may go on writing while we look.
    const std::string copy(reinterpret_cast<const char*>(detail),
                           std::min(completion.detail_length, kMaxDetailBytes));
    done.detail = Printable(copy, kMaxDetailBytes);
    responses_.Free(entry.submission.response_offset);
  }
  return true;
}

// The replica is done with it; the shard stays here until its rows are on the host.
void LanePort::Land(uint32_t slot) {
  InFlight& entry = slots_[slot];
  entry.landing = true;
  ReturnCredit(entry);
  copies_->Land({memory_, entry.submission.response_offset, entry.submission.response_length, slot});
}

void LanePort::FinishLanded(uint32_t slot, std::vector<Finished>* finished) {
  const InFlight entry = EmptySlot(slot);
  Finished& done = finished->emplace_back();
  done.shard = entry.shard;
  done.rows = TakeRows(entry.submission);
}

// A replica that lies here draws work to itself, no more than its credit. Without a time it says nothing.
void LanePort::LearnPace(const Completion& completion, const Shard& shard) {
  if (completion.busy_ns == 0) return;
  const auto busy = static_cast<double>(completion.busy_ns);
  const double pace = busy / static_cast<double>(shard.tokens);
  busy_ns_ += (busy - busy_ns_) / 8;
  ns_per_token_ = pace < ns_per_token_ / 2 ? pace : ns_per_token_ + (pace - ns_per_token_) / 8;
  // Where a batch takes long, however many tokens are in it, nothing is a trifle.
  trifle_tokens_ = TakesLong() ? 0 : static_cast<uint64_t>(kWakeNs / std::max(ns_per_token_, 1e-3));
}

bool LanePort::TakesLong() const {
  return busy_ns_ > kWakeNs;
}

bool LanePort::RoomIsScarce() {
  CollectReleased();
  return responses_.free_bytes() < responses_.capacity() / kScarceFraction;
}

RowBlock LanePort::TakeRows(const Submission& submission) {
  if (!RoomIsScarce()) return RowBlock(memory_, submission.response_offset, submission.response_length);
  auto heap = std::make_unique_for_overwrite<std::byte[]>(submission.response_length);
  std::memcpy(heap.get(), memory_->lane().rows(submission.response_offset), submission.response_length);
  responses_.Free(submission.response_offset);
  return RowBlock(std::move(heap), submission.response_length);
}

LanePort::InFlight LanePort::EmptySlot(uint32_t slot) {
  InFlight entry = std::exchange(slots_[slot], InFlight());
  if (!entry.landing) ReturnCredit(entry);
  free_slots_.push_back(slot);
  return entry;
}

// The replica holds it no more.
void LanePort::ReturnCredit(const InFlight& entry) {
  requests_.Free(entry.submission.request_offset);
  tokens_ -= entry.shard->tokens;
  prompts_ -= entry.shard->count;
}

void LanePort::Abandon(std::vector<Finished>* finished, std::vector<Orphan>* orphans) {
  (void)Reap(finished);  // what was committed counts, up to the first garbage
  const uint64_t taken = memory_->lane().TakenByReplica();
  std::vector<const InFlight*> rest;
  for (const InFlight& entry : slots_) {
    if (entry.shard) rest.push_back(&entry);
  }
  std::sort(rest.begin(), rest.end(), [](auto* a, auto* b) { return a->position < b->position; });
  // The copy of what was landing may go on, into memory that stays.
  for (const InFlight* entry : rest) {
    orphans->push_back({entry->shard, entry->position < taken && !DeviceIsLost(), entry->landing});
  }
}

std::optional<HeldShard> LanePort::FindOldest() const {
  const InFlight* oldest = nullptr;
  for (const InFlight& entry : slots_) {
    if (entry.shard && !entry.landing && (oldest == nullptr || entry.position < oldest->position))
      oldest = &entry;
  }
  if (oldest == nullptr) return std::nullopt;
  // Batches are shared with others' prompts, and a text may take four times the tokens that were estimated.
  const Shard& shard = *oldest->shard;
  const uint64_t passes = 1 + 2 * uint64_t{shard.count} / batch_prompts_ + 4 * shard.tokens / batch_tokens_;
  return HeldShard{oldest->position, shard.count, static_cast<uint32_t>(std::min<uint64_t>(passes, ~0u))};
}

void LanePort::Withdraw(const Ticket& ticket) {
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const InFlight& entry = slots_[slot];
    if (entry.shard && entry.shard->ticket == &ticket)
      memory_->lane().Withdraw(slot, entry.submission.cookie);
  }
}

}  // namespace zerohop

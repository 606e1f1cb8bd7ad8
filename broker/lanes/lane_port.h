#pragma once

// LanePort: the broker's books for one lane: what is allocated, what is in
// flight, how much the replica may hold. Post puts a shard on the lane, Reap
// takes finished ones off.
// Guarded by the dispatch lock. Lives from OnServing to OnDoomed; the memory may
// outlive it (lane_memory.h). It does not decide where work goes; Router does.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/lanes/completion_check.h"
#include "broker/lanes/copy_engine.h"
#include "broker/lanes/lane_memory.h"
#include "broker/lanes/region_allocator.h"
#include "broker/lanes/row_block.h"
#include "broker/lanes/shard.h"
#include "broker/replicas/cpu_placement.h"

namespace zerohop {

// How one shard came back.
struct Finished {
  ShardRef shard;
  CompletionStatus status = CompletionStatus::kOk;
  RowBlock rows;               // kOk
  std::string detail;          // kRejected, kFailed
  uint32_t failed_prompt = 0;  // index within the shard
};

// A shard whose replica died. `taken`: the replica had begun with it, so it may be the cause, unless it was
// `complete` and its rows were on their way from the device. Where that device is lost nothing else is the
// cause, and no shard is said to be taken.
struct Orphan {
  ShardRef shard;
  bool taken = false;
  bool complete = false;
};

// A shard on a lane, seen from outside.
struct HeldShard {
  uint64_t position = 0;  // in the submission ring: no other shard of the lane has it
  uint32_t prompts = 0;
  uint32_t passes = 0;  // over the model, that it may need: a generous guess
};

// A suspect runs alone: a lane is emptied for it, then holds nothing else until it has come back.
enum class Seclusion { kNone, kEmptying, kSuspectInFlight };

// What a replica may hold; always one shard, however large.
struct Credit {
  uint64_t tokens = 0;  // estimated
  uint64_t prompts =
      ~uint64_t{0};  // for engines whose time goes by prompts, and for estimates that are too low
};

enum class [[nodiscard]] PostResult{kPosted, kNoRoom, kCorrupt};

class LanePort {
 public:
  static constexpr uint32_t kMostTrifles = 32;

  // `copies`: brings the rows of a lane with a device to the host; null for another lane.
  LanePort(std::shared_ptr<BrokerLane> lane, BellRinger broker_bell, const EngineInfo& info, Credit credit,
           int cpu = kAnyCpu, CopyEngine* copies = nullptr);

  // Whether work may be posted at all: the replica has kept the rules, and its rows could come back.
  bool IsSound() const { return garbage_.empty() && !DeviceIsLost(); }
  // Whether ordinary work may be posted now.
  bool HasCredit() const {
    return tokens_ < credit_.tokens && prompts_ < credit_.prompts && !free_slots_.empty() &&
           seclusion == Seclusion::kNone && IsSound();
  }
  // Whether something waits in the replica, beside what it can run at once.
  bool HoldsMoreThanABatch() const { return tokens_ > batch_tokens_ || prompts_ > batch_prompts_; }
  // `quiet`: the replica may spin for the next submission.
  PostResult Post(const ShardRef& shard, bool quiet);
  void RingReplica() const { memory_->lane().RingReplica(); }

  // Takes all that is finished. False when the replica broke the rules, or its rows cannot come to the host
  // any more, told in garbage(); then nothing more is read from it.
  bool Reap(std::vector<Finished>* finished);
  bool HasCompletion() const { return garbage_.empty() && memory_->lane().HasCompletion(); }
  const std::string& garbage() const { return garbage_; }

  // The replica ends: what was committed first, then the rest, oldest first. Nothing is read afterwards.
  void Abandon(std::vector<Finished>* finished, std::vector<Orphan>* orphans);

  // Asks the replica not to begin shards of this ticket.
  void Withdraw(const Ticket& ticket);

  // The shard that has been here longest. Looks at every slot: not for each turn.
  std::optional<HeldShard> FindOldest() const;
  uint64_t tokens_in_flight() const { return tokens_; }
  // The CPU that the replica works on alone, or kAnyCpu.
  int cpu() const { return cpu_; }
  // Tokens in flight, but 0 while the engine is done with them before another replica could wake.
  // However fast it was, a lane that does not answer draws no more than kMostTrifles shards.
  uint64_t burden() const {
    return tokens_ <= trifle_tokens_ && shards_in_flight() <= kMostTrifles ? 0 : tokens_;
  }
  // Whether a batch takes longer than to wake a replica that sleeps. False while that is not known.
  bool TakesLong() const;
  uint32_t shards_in_flight() const { return static_cast<uint32_t>(slots_.size() - free_slots_.size()); }
  const LaneIdentity& identity() const { return memory_->lane().identity(); }
  Seclusion seclusion = Seclusion::kNone;  // the router's

 private:
  struct InFlight {
    ShardRef shard;  // empty: the slot is free
    Submission submission{};
    uint64_t position = 0;  // in the submission ring
    bool landing = false;   // complete; its rows are on their way from the device
  };

  void CollectReleased();
  bool RoomIsScarce();
  std::optional<uint64_t> AllocateResponse(uint64_t bytes);
  bool FinishOne(const Completion& completion, std::vector<Finished>* finished);
  RowBlock TakeRows(const Submission& submission);
  void Land(uint32_t slot);
  void FinishLanded(uint32_t slot, std::vector<Finished>* finished);
  bool DeviceIsLost() const { return copies_ != nullptr && copies_->home().lost(); }
  void ReturnCredit(const InFlight& entry);
  InFlight EmptySlot(uint32_t slot);
  void LearnPace(const Completion& completion, const Shard& shard);

  std::shared_ptr<LaneMemory> memory_;
  RegionAllocator requests_;
  RegionAllocator responses_;
  std::vector<InFlight> slots_;
  std::vector<uint32_t> free_slots_;
  const uint32_t dim_;
  const uint32_t batch_tokens_, batch_prompts_;
  const Credit credit_;
  const int cpu_;
  CopyEngine* const copies_;  // null: rows come by the host
  uint64_t tokens_ = 0;       // estimated, in flight
  uint64_t prompts_ = 0;      // in flight
  double busy_ns_ = 0;        // moving average of the engine's time for a submission, as the replica says
  double ns_per_token_;       // the same for a token
  uint64_t trifle_tokens_ = 0;
  uint64_t next_cookie_;
  std::string garbage_;
};

}  // namespace zerohop

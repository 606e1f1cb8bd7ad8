#pragma once

// Lane: the private shared-memory channel of one replica generation, as each
// of its two ends sees it. LaneOffer is what travels from one to the other.
//
// BrokerLane: made by the supervisor; Submit by whoever holds the dispatch
// lock, TakeCompletion likewise. Unmapped when the last region reference goes.
// ReplicaLane: used by the shim's worker, except the heartbeat's beat.
// Neither knows what is in flight; the broker's LanePort does.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "shm/bell.h"
#include "shm/cuda/lane_device.h"
#include "shm/heartbeat.h"
#include "shm/lane_format.h"
#include "shm/lifeline_word.h"
#include "shm/ring.h"
#include "shm/segment.h"

namespace zerohop {

// The broker's one bell; every lane's replica rings it.
class BrokerBell {
 public:
  static absl::StatusOr<BrokerBell> Create();
  BellRinger ringer() const { return {&lines()->rings.value, &lines()->sleeping.value}; }
  BellSleeper MakeSleeper(std::chrono::nanoseconds spin_limit) const {
    return {&lines()->rings.value, &lines()->sleeping.value, spin_limit};
  }
  BellAttendant MakeAttendant() const { return {&lines()->rings.value, &lines()->sleeping.value}; }
  const Segment& segment() const { return segment_; }

 private:
  explicit BrokerBell(Segment segment) : segment_(std::move(segment)) {}
  BellLines* lines() const { return reinterpret_cast<BellLines*>(segment_.data()); }
  Segment segment_;
};

// Who a lane is for.
struct LaneIdentity {
  uint64_t epoch = 0;
  uint64_t generation = 0;
  uint32_t replica = 0;
};

// The descriptors of a lane, to be sent over the control socket.
struct LaneOffer {
  UniqueFd broker_segment;   // read-only for the replica
  UniqueFd replica_segment;  // read-write
  UniqueFd bell;             // read-write
};

class BrokerLane {
 public:
  // Reserves both segments. ResourceExhausted where the machine has no room.
  static absl::StatusOr<BrokerLane> Create(const LaneIdentity& identity, const LaneGeometry& geometry);

  absl::StatusOr<LaneOffer> Offer(const BrokerBell& bell) const;
  // The part on a device, to be offered. Once it has been, it stays with the lane: whoever the replica is, it
  // may have it open.
  void SetDevice(std::shared_ptr<const LaneDevice> device) { device_ = std::move(device); }
  const std::shared_ptr<const LaneDevice>& device() const { return device_; }
  // The replica has taken it: rows come by the device. Before the lane serves.
  void TakeDevice() { rows_by_device_ = true; }
  bool rows_by_device() const { return rows_by_device_; }

  RingResult Submit(const Submission& submission) { return submissions_.Push(submission); }
  // Once per batch of submissions.
  void RingReplica() const { replica_bell_.Ring(); }
  RingResult TakeCompletion(Completion* completion) { return completions_.Take(completion); }
  bool HasCompletion() const { return !completions_.Empty(); }
  // Ring positions: submissions published, and those the replica says it has taken.
  uint64_t Published() const { return submissions_.published(); }
  uint64_t TakenByReplica() const { return submissions_.TakenByConsumer(); }

  // Tells the replica whether it may spin for the next submission.
  void SetQuiet(bool quiet);

  // Asks the replica not to begin a submission. A hint: it may be too late.
  void Withdraw(uint32_t slot, uint64_t cookie);

  // True once the shim has said it serves this very generation.
  bool Ready() const;
  HeartbeatReader MakeHeartbeatReader(std::chrono::steady_clock::time_point now) const;
  LifelineReader lifeline() const;

  std::byte* request(uint64_t offset) const { return broker_.data() + at_.request_arena + offset; }
  const std::byte* response(uint64_t offset) const { return replica_.data() + at_.response_arena + offset; }
  // Rows that are here: where the replica wrote them, or where they landed from the device.
  const std::byte* rows(uint64_t offset) const {
    return rows_by_device_ ? device_->on_host(offset) : response(offset);
  }
  const LaneGeometry& geometry() const { return geometry_; }
  const LaneIdentity& identity() const { return identity_; }

 private:
  BrokerLane(const LaneIdentity& identity, const LaneGeometry& geometry, Segment broker, Segment replica);

  LaneIdentity identity_;
  LaneGeometry geometry_;
  LaneOffsets at_;
  Segment broker_;   // mapped read-write
  Segment replica_;  // mapped read-only
  std::atomic<uint32_t>* quiet_;
  std::atomic<uint64_t>* cancel_words_;
  RingProducer<Submission> submissions_;
  RingConsumer<Completion> completions_;
  BellRinger replica_bell_;
  std::shared_ptr<const LaneDevice> device_;
  bool rows_by_device_ = false;
};

class ReplicaLane {
 public:
  // Answers with one sentence what is wrong: another version, another size, another identity.
  static absl::StatusOr<ReplicaLane> Attach(LaneOffer offer, const LaneIdentity& expected,
                                            std::chrono::nanoseconds spin_limit);

  RingResult TakeSubmission(Submission* submission) { return submissions_.Take(submission); }
  bool HasSubmission() const { return !submissions_.Empty(); }
  // As the broker says: a count, nothing may be read by it.
  uint64_t WaitingSubmissions() const { return submissions_.Waiting(); }
  RingResult Complete(const Completion& completion) { return completions_.Push(completion); }
  // Once per batch of completions.
  void RingBroker() const { broker_bell_.Ring(); }
  // Sleeps until there may be a submission, or `at_most` passed.
  void WaitForWork(std::chrono::nanoseconds at_most);
  // True when the broker has asked not to begin it.
  bool Withdrawn(const Submission& submission) const;

  void MarkReady();
  HeartbeatWriter heartbeat() const { return heartbeat_; }
  // For the side thread, which holds it as long as it lives.
  std::atomic<uint32_t>* lifeline_word() const { return lifeline_; }

  // Nothing is shared any more: private memory takes the place of all that this
  // side writes, so whatever the worker still writes harms nobody. Any thread, once.
  void Fence();

  // Empty when the record names bytes outside the arena.
  std::span<const std::byte> request(const Submission& submission) const;
  std::span<std::byte> response(const Submission& submission) const;
  std::span<std::byte> response_arena() const {
    return {replica_.data() + at_.response_arena, geometry_.response_arena_bytes};
  }
  const LaneIdentity& identity() const { return identity_; }

 private:
  ReplicaLane(const LaneIdentity& identity, const LaneGeometry& geometry, Segment broker, Segment replica,
              Segment bell, std::chrono::nanoseconds spin_limit);

  LaneIdentity identity_;
  LaneGeometry geometry_;
  LaneOffsets at_;
  Segment broker_;   // mapped read-only
  Segment replica_;  // mapped read-write
  Segment bell_;     // mapped read-write
  const std::atomic<uint32_t>* quiet_;
  const std::atomic<uint64_t>* cancel_words_;
  std::atomic<uint64_t>* ready_;
  std::atomic<uint32_t>* lifeline_;
  RingConsumer<Submission> submissions_;
  RingProducer<Completion> completions_;
  BellSleeper sleeper_;
  BellRinger broker_bell_;
  HeartbeatWriter heartbeat_;
};

}  // namespace zerohop

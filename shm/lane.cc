#include "shm/lane.h"

#include <unistd.h>

#include <new>
#include <string>

namespace zerohop {
namespace {

template <typename T>
T* At(const Segment& segment, size_t offset) {
  return reinterpret_cast<T*>(segment.data() + offset);
}

std::string LaneName(const LaneIdentity& identity, const char* part) {
  return "zerohop-lane-" + std::to_string(identity.replica) + "." + std::to_string(identity.generation) +
         "-" + part;
}

absl::Status Mismatch(const char* what, uint64_t expected, uint64_t got) {
  return absl::FailedPreconditionError(std::string("lane ") + what + ": expected " +
                                       std::to_string(expected) + ", got " + std::to_string(got));
}

}  // namespace

absl::StatusOr<BrokerBell> BrokerBell::Create() {
  auto segment = Segment::Create("zerohop-bell", kPageBytes, Access::kReadWrite);
  if (!segment.ok()) return segment.status();
  return BrokerBell(*std::move(segment));
}

absl::StatusOr<BrokerLane> BrokerLane::Create(const LaneIdentity& identity, const LaneGeometry& geometry) {
  if (absl::Status valid = Validate(geometry); !valid.ok()) return valid;
  const LaneOffsets at = OffsetsOf(geometry);
  auto broker =
      Segment::Create(LaneName(identity, "requests"), at.broker_bytes, Access::kReadWrite, Access::kReadOnly);
  if (!broker.ok()) return broker.status();
  auto replica = Segment::Create(LaneName(identity, "responses"), at.replica_bytes, Access::kReadOnly);
  if (!replica.ok()) return replica.status();
  // The pages are zero: every position, flag and word begins as it must.
  new (broker->data())
      LaneHeader{kLaneMagic, kLaneVersion, identity.replica, identity.epoch, identity.generation, geometry};
  return BrokerLane(identity, geometry, *std::move(broker), *std::move(replica));
}

BrokerLane::BrokerLane(const LaneIdentity& identity, const LaneGeometry& geometry, Segment broker,
                       Segment replica)
    : identity_(identity),
      geometry_(geometry),
      at_(OffsetsOf(geometry)),
      broker_(std::move(broker)),
      replica_(std::move(replica)),
      quiet_(&At<BrokerLines>(broker_, at_.broker_lines)->quiet.value),
      cancel_words_(At<std::atomic<uint64_t>>(broker_, at_.cancel_words)) {
  auto* ours = At<BrokerLines>(broker_, at_.broker_lines);
  const auto* theirs = At<const ReplicaLines>(replica_, at_.replica_lines);
  submissions_ = {&ours->submission_tail.value, &theirs->submission_head.value,
                  At<Submission>(broker_, at_.submission_cells), geometry.ring_cells};
  completions_ = {&theirs->completion_tail.value, &ours->completion_head.value,
                  At<const Completion>(replica_, at_.completion_cells), geometry.ring_cells};
  replica_bell_ = {&ours->submission_rings.value, &theirs->submission_sleeping.value};
}

absl::StatusOr<LaneOffer> BrokerLane::Offer(const BrokerBell& bell) const {
  auto broker = broker_.Share(Access::kReadOnly);
  auto replica = replica_.Share(Access::kReadWrite);
  auto rings = bell.segment().Share(Access::kReadWrite);
  for (const auto* fd : {&broker, &replica, &rings}) {
    if (!fd->ok()) return fd->status();
  }
  return LaneOffer{*std::move(broker), *std::move(replica), *std::move(rings)};
}

void BrokerLane::Withdraw(uint32_t slot, uint64_t cookie) {
  // EDGE(withdraw) relaxed: the cookie is the whole message, nothing is read through it.
  cancel_words_[slot].store(cookie, std::memory_order_relaxed);
}

void BrokerLane::SetQuiet(bool quiet) {
  // EDGE(quiet) relaxed: a hint alone. Stored only on change: the line then stays in the replica's cache.
  if (quiet_->load(std::memory_order_relaxed) != quiet) quiet_->store(quiet, std::memory_order_relaxed);
}

bool BrokerLane::Ready() const {
  const auto* header = At<const ReplicaHeader>(replica_, 0);
  // EDGE(ready) acquire: the shim has set up everything it shares.
  return header->ready.load(std::memory_order_acquire) == identity_.generation;
}

HeartbeatReader BrokerLane::MakeHeartbeatReader(std::chrono::steady_clock::time_point now) const {
  return {&At<const ReplicaLines>(replica_, at_.replica_lines)->heartbeat, now};
}

LifelineReader BrokerLane::lifeline() const {
  return LifelineReader(&At<ReplicaLines>(replica_, at_.replica_lines)->lifeline.value);
}

absl::StatusOr<ReplicaLane> ReplicaLane::Attach(LaneOffer offer, const LaneIdentity& expected,
                                                std::chrono::nanoseconds spin_limit) {
  // The header first, alone: only it says how long the rest is.
  LaneHeader header{};
  const ssize_t got = ::pread(offer.broker_segment.get(), &header, sizeof header, 0);
  if (got != sizeof header) return Mismatch("header bytes", sizeof header, got < 0 ? 0 : got);
  if (header.magic != kLaneMagic) return Mismatch("magic", kLaneMagic, header.magic);
  if (header.version != kLaneVersion) return Mismatch("version", kLaneVersion, header.version);
  if (header.epoch != expected.epoch) return Mismatch("epoch", expected.epoch, header.epoch);
  if (header.generation != expected.generation) {
    return Mismatch("generation", expected.generation, header.generation);
  }
  if (header.replica != expected.replica) return Mismatch("replica", expected.replica, header.replica);
  if (absl::Status valid = Validate(header.geometry); !valid.ok()) return valid;
  const LaneOffsets at = OffsetsOf(header.geometry);
  auto broker = Segment::Attach(std::move(offer.broker_segment), at.broker_bytes, Access::kReadOnly);
  if (!broker.ok()) return broker.status();
  auto replica = Segment::Attach(std::move(offer.replica_segment), at.replica_bytes, Access::kReadWrite);
  if (!replica.ok()) return replica.status();
  auto bell = Segment::Attach(std::move(offer.bell), kPageBytes, Access::kReadWrite);
  if (!bell.ok()) return bell.status();
  return ReplicaLane(expected, header.geometry, *std::move(broker), *std::move(replica), *std::move(bell),
                     spin_limit);
}

ReplicaLane::ReplicaLane(const LaneIdentity& identity, const LaneGeometry& geometry, Segment broker,
                         Segment replica, Segment bell, std::chrono::nanoseconds spin_limit)
    : identity_(identity),
      geometry_(geometry),
      at_(OffsetsOf(geometry)),
      broker_(std::move(broker)),
      replica_(std::move(replica)),
      bell_(std::move(bell)),
      quiet_(&At<const BrokerLines>(broker_, at_.broker_lines)->quiet.value),
      cancel_words_(At<const std::atomic<uint64_t>>(broker_, at_.cancel_words)),
      ready_(&At<ReplicaHeader>(replica_, 0)->ready),
      lifeline_(&At<ReplicaLines>(replica_, at_.replica_lines)->lifeline.value) {
  const auto* theirs = At<const BrokerLines>(broker_, at_.broker_lines);
  auto* ours = At<ReplicaLines>(replica_, at_.replica_lines);
  submissions_ = {&theirs->submission_tail.value, &ours->submission_head.value,
                  At<const Submission>(broker_, at_.submission_cells), geometry.ring_cells};
  completions_ = {&ours->completion_tail.value, &theirs->completion_head.value,
                  At<Completion>(replica_, at_.completion_cells), geometry.ring_cells};
  sleeper_ = {&theirs->submission_rings.value, &ours->submission_sleeping.value, spin_limit};
  auto* bell_lines = At<BellLines>(bell_, 0);
  broker_bell_ = {&bell_lines->rings.value, &bell_lines->sleeping.value};
  heartbeat_ = HeartbeatWriter(&ours->heartbeat);
}

void ReplicaLane::WaitForWork(std::chrono::nanoseconds at_most) {
  // EDGE(quiet) relaxed: a hint alone.
  const bool may_spin = quiet_->load(std::memory_order_relaxed) != 0;
  sleeper_.Wait(at_most, may_spin, [this] { return HasSubmission(); });
}

bool ReplicaLane::Withdrawn(const Submission& submission) const {
  if (submission.slot >= geometry_.ring_cells) return false;
  // EDGE(withdraw) relaxed: a hint; missing it costs one needless computation.
  return cancel_words_[submission.slot].load(std::memory_order_relaxed) == submission.cookie;
}

void ReplicaLane::MarkReady() {
  // EDGE(ready) release, last: whoever sees the generation sees a shim that serves it.
  ready_->store(identity_.generation, std::memory_order_release);
}

void ReplicaLane::Fence() {
  replica_.Isolate();
  bell_.Isolate();
}

std::span<const std::byte> ReplicaLane::request(const Submission& submission) const {
  const uint64_t arena = geometry_.request_arena_bytes;
  if (submission.request_offset > arena || submission.request_length > arena - submission.request_offset) {
    return {};
  }
  return {broker_.data() + at_.request_arena + submission.request_offset, submission.request_length};
}

std::span<std::byte> ReplicaLane::response(const Submission& submission) const {
  const uint64_t arena = geometry_.response_arena_bytes;
  if (submission.response_offset > arena || submission.response_length > arena - submission.response_offset) {
    return {};
  }
  return {replica_.data() + at_.response_arena + submission.response_offset, submission.response_length};
}

}  // namespace zerohop

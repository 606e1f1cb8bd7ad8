#include "tests/every_instruction/victim.h"

#include <sched.h>

#include <stdexcept>
#include <string>

#include "tests/support/must.h"

namespace zerohop {
namespace {

// A run costs as much as so many steps.
constexpr uint64_t kWorthARun = 5;

void MustBeOk(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error("the victim: " + std::string(status.message()));
}

Segment MapReplicaSegment(const BrokerLane& lane, const BrokerBell& bell) {
  LaneOffer offer = Must(lane.Offer(bell));
  const size_t bytes = OffsetsOf(lane.geometry()).replica_bytes;
  return Must(Segment::Attach(std::move(offer.replica_segment), bytes, Access::kReadOnly));
}

}  // namespace

Victim::Victim(const LiveReplica& replica, const BrokerBell& bell)
    : segment_(MapReplicaSegment(*replica.lane(), bell)),
      lines_(reinterpret_cast<const ReplicaLines*>(segment_.data() +
                                                   OffsetsOf(replica.lane()->geometry()).replica_lines)),
      bell_(reinterpret_cast<const BellLines*>(bell.segment().data())),
      thread_(Must(SteppedThread::Seize(replica.pid()))),
      code_(replica.pid()) {
  for (;;) {
    while (!asleep()) {
      if (replica.Exited()) throw std::runtime_error("the victim died by itself: " + replica.Output());
      ::sched_yield();
    }
    MustBeOk(thread_.Stop());
    if (asleep()) break;
    MustBeOk(thread_.Continue());  // its bounded sleep was just over
  }
  begin_ = Look();
}

Visible Victim::Look() const {
  return {lines_->submission_head.value - begin_.taken, lines_->completion_tail.value - begin_.published,
          bell_->rings.value - begin_.rings, lines_->heartbeat.phase == static_cast<uint32_t>(Phase::kIdle)};
}

void Victim::Step() {
  MustBeOk(thread_.Step());
}

void Victim::AppendPosition(Passage* passage) const {
  const uint64_t address = Must(thread_.Position());
  passage->Append(address, code_.PlaceOf(address));
}

bool Victim::IsAt(const Passage& passage, uint64_t k) const {
  return Must(thread_.Position()) == code_.AddressOf(passage.place(k));
}

uint64_t Victim::Advance(const Passage& passage, uint64_t at, uint64_t to) {
  const uint64_t stop = passage.FarthestStop(at, to);
  if (stop < at + kWorthARun) {
    Step();
    return at + 1;
  }
  // Should this one go another way than the one that was walked with, it stops at the end of the passage.
  const uint64_t goal = code_.AddressOf(passage.place(stop));
  const uint64_t end = code_.AddressOf(passage.place(passage.length()));
  return Must(thread_.RunTo(goal, end)) == goal ? stop : passage.length();
}

}  // namespace zerohop

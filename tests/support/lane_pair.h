#pragma once

// Both ends of a lane in one process, each through mappings of its own, as two
// processes would have them.

#include <chrono>
#include <memory>

#include "shm/lane.h"
#include "tests/support/must.h"

namespace zerohop {

// The least that Validate accepts.
inline LaneGeometry SmallGeometry() {
  LaneGeometry geometry;
  geometry.ring_cells = 16;
  geometry.request_arena_bytes = 64 << 10;
  geometry.response_arena_bytes = 64 << 10;
  return geometry;
}

inline ReplicaLane AttachTo(const BrokerLane& lane, const BrokerBell& bell) {
  return Must(ReplicaLane::Attach(Must(lane.Offer(bell)), lane.identity(), std::chrono::nanoseconds(0)));
}

struct LanePair {
  explicit LanePair(const LaneGeometry& geometry = SmallGeometry(), const LaneIdentity& identity = {7, 3, 1})
      : bell(Must(BrokerBell::Create())),
        broker(std::make_shared<BrokerLane>(Must(BrokerLane::Create(identity, geometry)))),
        replica(AttachTo(*broker, bell)) {}

  BrokerBell bell;
  std::shared_ptr<BrokerLane> broker;
  ReplicaLane replica;
};

}  // namespace zerohop

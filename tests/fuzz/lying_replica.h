#pragma once

// LyingReplica: the replica's end of a lane in the hands of a fuzzer. It writes
// whatever it is told, wherever a replica may write; and it reads what the
// broker wrote, as any replica can.
// It keeps no positions: the words in shared memory are the only ones. Looks
// through the mappings of a ReplicaLane, and lives no longer.

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/support/lane_pair.h"

namespace zerohop {

class LyingReplica {
 public:
  LyingReplica(const ReplicaLane& lane, const LaneGeometry& geometry)
      : at_(OffsetsOf(geometry)), cells_(geometry.ring_cells) {
    // Each segment from its arena back to its begin.
    broker_ = lane.request(Submission{}).data() - at_.request_arena;
    own_ = lane.response(Submission{}).data() - at_.response_arena;
  }

  // The words that a replica writes.
  ReplicaHeader& header() { return *reinterpret_cast<ReplicaHeader*>(own_); }
  ReplicaLines& lines() { return *reinterpret_cast<ReplicaLines*>(own_ + at_.replica_lines); }
  Completion& completion(uint64_t position) {
    return reinterpret_cast<Completion*>(own_ + at_.completion_cells)[position % cells_];
  }
  std::byte* response(uint64_t offset) { return own_ + at_.response_arena + offset; }

  // The words that the broker writes.
  const BrokerLines& broker_lines() const {
    return *reinterpret_cast<const BrokerLines*>(broker_ + at_.broker_lines);
  }
  const Submission& submission(uint64_t position) const {
    return reinterpret_cast<const Submission*>(broker_ + at_.submission_cells)[position % cells_];
  }
  uint64_t cancel_word(uint32_t slot) const {
    uint64_t cookie;
    std::memcpy(&cookie, broker_ + at_.cancel_words + slot * sizeof cookie, sizeof cookie);
    return cookie;
  }
  const std::byte* request(uint64_t offset) const { return broker_ + at_.request_arena + offset; }

  // Over anything before the response arena: ready word, positions, heartbeat, completion cells.
  void ScribbleLines(size_t offset, std::string_view bytes) {
    offset %= at_.completion_cells + cells_ * sizeof(Completion);
    std::memcpy(own_ + offset, bytes.data(), std::min(bytes.size(), at_.response_arena - offset));
  }
  void ScribbleResponses(size_t offset, std::string_view bytes) {
    const size_t arena = at_.replica_bytes - at_.response_arena;
    offset %= arena;
    std::memcpy(response(offset), bytes.data(), std::min(bytes.size(), arena - offset));
  }
  void Publish(const Completion& cell) {
    std::atomic<uint64_t>& tail = lines().completion_tail.value;
    completion(tail) = cell;
    ++tail;
  }

 private:
  LaneOffsets at_;
  uint32_t cells_;
  const std::byte* broker_;  // mapped read-only, as the offer says
  std::byte* own_;
};

}  // namespace zerohop

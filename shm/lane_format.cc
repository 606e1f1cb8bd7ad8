#include "shm/lane_format.h"

#include <bit>
#include <string>

namespace zerohop {
namespace {

constexpr uint64_t kMinArenaBytes = 64u << 10;
constexpr uint64_t kMaxArenaBytes = 4ull << 30;  // lengths in records are 32 bits
constexpr uint32_t kMaxRingCells = 1u << 16;

size_t ToPage(size_t bytes) {
  return (bytes + kPageBytes - 1) & ~(kPageBytes - 1);
}

bool GoodArena(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kMinArenaBytes && bytes <= kMaxArenaBytes;
}

}  // namespace

LaneOffsets OffsetsOf(const LaneGeometry& geometry) {
  LaneOffsets at{};
  at.broker_lines = sizeof(LaneHeader);
  at.cancel_words = at.broker_lines + sizeof(BrokerLines);
  at.submission_cells = at.cancel_words + geometry.ring_cells * sizeof(uint64_t);
  at.request_arena = ToPage(at.submission_cells + geometry.ring_cells * sizeof(Submission));
  at.broker_bytes = at.request_arena + geometry.request_arena_bytes;
  at.replica_lines = sizeof(ReplicaHeader);
  at.completion_cells = at.replica_lines + sizeof(ReplicaLines);
  at.response_arena = ToPage(at.completion_cells + geometry.ring_cells * sizeof(Completion));
  at.replica_bytes = at.response_arena + geometry.response_arena_bytes;
  return at;
}

absl::Status Validate(const LaneGeometry& geometry) {
  if (!std::has_single_bit(geometry.ring_cells) || geometry.ring_cells < 16 ||
      geometry.ring_cells > kMaxRingCells) {
    return absl::InvalidArgumentError("ring cells: expected a power of two from 16 to 65536, got " +
                                      std::to_string(geometry.ring_cells));
  }
  for (uint64_t bytes : {geometry.request_arena_bytes, geometry.response_arena_bytes}) {
    if (!GoodArena(bytes)) {
      return absl::InvalidArgumentError("arena: expected a power of two from 64 KiB to 4 GiB, got " +
                                        std::to_string(bytes) + " bytes");
    }
  }
  return absl::OkStatus();
}

}  // namespace zerohop

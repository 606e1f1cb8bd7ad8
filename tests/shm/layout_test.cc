// The lane's format, byte for byte. A test that fails here means a new
// kLaneVersion, never a new number in the test alone.

#include <gtest/gtest.h>

#include <cstring>

#include "shm/lane_format.h"
#include "shm/row.h"

namespace zerohop {
namespace {

TEST(Layout, MagicReadsAsItsName) {
  EXPECT_EQ(std::memcmp(&kLaneMagic, "ZEROHOP1", 8), 0);
  EXPECT_EQ(kLaneVersion, 4u);
}

TEST(Layout, LaneHeaderKeepsItsOffsets) {
  EXPECT_EQ(sizeof(LaneGeometry), 24u);
  EXPECT_EQ(offsetof(LaneGeometry, ring_cells), 0u);
  EXPECT_EQ(offsetof(LaneGeometry, request_arena_bytes), 8u);
  EXPECT_EQ(offsetof(LaneGeometry, response_arena_bytes), 16u);
  EXPECT_EQ(sizeof(LaneHeader), 128u);
  EXPECT_EQ(offsetof(LaneHeader, magic), 0u);
  EXPECT_EQ(offsetof(LaneHeader, version), 8u);
  EXPECT_EQ(offsetof(LaneHeader, replica), 12u);
  EXPECT_EQ(offsetof(LaneHeader, epoch), 16u);
  EXPECT_EQ(offsetof(LaneHeader, generation), 24u);
  EXPECT_EQ(offsetof(LaneHeader, geometry), 32u);
}

TEST(Layout, EveryWordOfTheBrokerHasALineOfItsOwn) {
  EXPECT_EQ(sizeof(BrokerLines), 512u);
  EXPECT_EQ(offsetof(BrokerLines, submission_tail), 0u);
  EXPECT_EQ(offsetof(BrokerLines, completion_head), 128u);
  EXPECT_EQ(offsetof(BrokerLines, submission_rings), 256u);
  EXPECT_EQ(offsetof(BrokerLines, quiet), 384u);
}

TEST(Layout, EveryWordOfTheReplicaHasALineOfItsOwn) {
  EXPECT_EQ(sizeof(ReplicaHeader), 128u);
  EXPECT_EQ(sizeof(ReplicaLines), 768u);
  EXPECT_EQ(offsetof(ReplicaLines, submission_head), 0u);
  EXPECT_EQ(offsetof(ReplicaLines, completion_tail), 128u);
  EXPECT_EQ(offsetof(ReplicaLines, heartbeat), 256u);
  EXPECT_EQ(offsetof(ReplicaLines, submission_sleeping), 512u);
  EXPECT_EQ(offsetof(ReplicaLines, lifeline), 640u);
  EXPECT_EQ(sizeof(HeartbeatSlot), 256u);
  EXPECT_EQ(offsetof(HeartbeatSlot, beat), 0u);
  EXPECT_EQ(offsetof(HeartbeatSlot, progress), 128u);
  EXPECT_EQ(offsetof(HeartbeatSlot, phase), 136u);
  EXPECT_EQ(sizeof(BellLines), 256u);
  EXPECT_EQ(offsetof(BellLines, rings), 0u);
  EXPECT_EQ(offsetof(BellLines, sleeping), 128u);
}

TEST(Layout, SubmissionKeepsItsOffsets) {
  EXPECT_EQ(sizeof(Submission), 64u);
  EXPECT_EQ(offsetof(Submission, cookie), 0u);
  EXPECT_EQ(offsetof(Submission, deadline_monotonic_ns), 8u);
  EXPECT_EQ(offsetof(Submission, request_offset), 16u);
  EXPECT_EQ(offsetof(Submission, response_offset), 24u);
  EXPECT_EQ(offsetof(Submission, request_length), 32u);
  EXPECT_EQ(offsetof(Submission, response_length), 36u);
  EXPECT_EQ(offsetof(Submission, slot), 40u);
  EXPECT_EQ(offsetof(Submission, rows), 44u);
  EXPECT_EQ(offsetof(Submission, dim), 48u);
  EXPECT_EQ(offsetof(Submission, kind), 52u);
  EXPECT_EQ(offsetof(Submission, priority), 56u);
  EXPECT_EQ(offsetof(Submission, reserved), 60u);
}

TEST(Layout, CompletionKeepsItsOffsets) {
  EXPECT_EQ(sizeof(Completion), 64u);
  EXPECT_EQ(offsetof(Completion, cookie), 0u);
  EXPECT_EQ(offsetof(Completion, busy_ns), 8u);
  EXPECT_EQ(offsetof(Completion, slot), 16u);
  EXPECT_EQ(offsetof(Completion, status), 20u);
  EXPECT_EQ(offsetof(Completion, rows), 24u);
  EXPECT_EQ(offsetof(Completion, failed_prompt), 28u);
  EXPECT_EQ(offsetof(Completion, detail_length), 32u);
  EXPECT_EQ(offsetof(Completion, tokens), 36u);
  EXPECT_EQ(offsetof(Completion, reserved), 40u);
}

TEST(Layout, RowIsItsFloatsAndNothingElse) {
  EXPECT_EQ(RowBytes(1), 4u);
  EXPECT_EQ(RowBytes(384), 1536u);
  EXPECT_EQ(RowBytes(kMaxDim), 2'097'148u);
}

TEST(Layout, StatusesKeepTheirNumbers) {
  EXPECT_EQ(static_cast<uint32_t>(CompletionStatus::kOk), 0u);
  EXPECT_EQ(static_cast<uint32_t>(CompletionStatus::kRejected), 1u);
  EXPECT_EQ(static_cast<uint32_t>(CompletionStatus::kFailed), 2u);
  EXPECT_EQ(static_cast<uint32_t>(CompletionStatus::kWithdrawn), 3u);
}

TEST(Layout, DefaultGeometryKeepsItsOffsets) {
  LaneGeometry geometry;
  geometry.ring_cells = 1024;
  geometry.request_arena_bytes = 32u << 20;
  geometry.response_arena_bytes = 64u << 20;
  const LaneOffsets at = OffsetsOf(geometry);
  EXPECT_EQ(at.broker_lines, 128u);
  EXPECT_EQ(at.cancel_words, 640u);
  EXPECT_EQ(at.submission_cells, 8832u);
  EXPECT_EQ(at.request_arena, 77824u);
  EXPECT_EQ(at.broker_bytes, 33632256u);
  EXPECT_EQ(at.replica_lines, 128u);
  EXPECT_EQ(at.completion_cells, 896u);
  EXPECT_EQ(at.response_arena, 69632u);
  EXPECT_EQ(at.replica_bytes, 67178496u);
}

TEST(Layout, PartsNeverOverlapWhateverTheGeometry) {
  for (uint32_t cells = 16; cells <= 65536; cells *= 2) {
    LaneGeometry geometry;
    geometry.ring_cells = cells;
    geometry.request_arena_bytes = geometry.response_arena_bytes = 64 << 10;
    ASSERT_TRUE(Validate(geometry).ok());
    const LaneOffsets at = OffsetsOf(geometry);
    EXPECT_GE(at.cancel_words, at.broker_lines + sizeof(BrokerLines));
    EXPECT_GE(at.submission_cells, at.cancel_words + cells * sizeof(uint64_t));
    EXPECT_GE(at.request_arena, at.submission_cells + cells * sizeof(Submission));
    EXPECT_GE(at.completion_cells, at.replica_lines + sizeof(ReplicaLines));
    EXPECT_GE(at.response_arena, at.completion_cells + cells * sizeof(Completion));
    EXPECT_EQ(at.request_arena % kPageBytes, 0u);
    EXPECT_EQ(at.response_arena % kPageBytes, 0u);
    EXPECT_EQ(at.submission_cells % alignof(Submission), 0u);
    EXPECT_EQ(at.broker_bytes, at.request_arena + geometry.request_arena_bytes);
    EXPECT_EQ(at.replica_bytes, at.response_arena + geometry.response_arena_bytes);
  }
}

TEST(Layout, ImpossibleGeometriesAreRefused) {
  for (uint32_t cells : {0u, 1u, 8u, 17u, 1000u, 1u << 17, ~0u}) {
    LaneGeometry geometry;
    geometry.ring_cells = cells;
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(geometry))) << cells;
  }
  for (uint64_t bytes : {uint64_t{0}, uint64_t{4096}, uint64_t{100} << 20, uint64_t{8} << 30, ~uint64_t{0}}) {
    LaneGeometry request, response;
    request.request_arena_bytes = response.response_arena_bytes = bytes;
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(request))) << bytes;
    EXPECT_TRUE(absl::IsInvalidArgument(Validate(response))) << bytes;
  }
  EXPECT_TRUE(Validate(LaneGeometry()).ok());
}

}  // namespace
}  // namespace zerohop

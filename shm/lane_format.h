#pragma once

// The lane as it lies in shared memory: every struct that the broker and a
// replica both map. A change here is a change of format: raise kLaneVersion.
//
// A lane is two segments. Each is written by one process only, and mapped
// read-only by the other, so neither can damage what the other relies on.
//
//   broker segment (written by the broker)     replica segment (written by the replica)
//   +----------------------------------+       +----------------------------------+
//   | LaneHeader                       |       | ReplicaHeader      ready word    |
//   | BrokerLines                      |       | ReplicaLines                     |
//   |   submission tail, completion    |       |   submission head, completion    |
//   |   head, submission bell          |       |   tail, heartbeat, sleeping      |
//   |                                  |       |   flag, lifeline                 |
//   | cancel words                     |       | completion cells                 |
//   | submission cells                 |       |                                  |
//   +-- page -------------------------+        +-- page --------------------------+
//   | request arena                    |       | response arena                   |
//   +----------------------------------+       +----------------------------------+
//
// All bookkeeping (what is allocated, what is in flight) is private to the
// broker. Offsets are bytes from the start of an arena. Integers are in host
// order: a lane never leaves its host.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/status/status.h"

namespace zerohop {

// Two lines, because the adjacent-line prefetcher moves cache lines in pairs.
inline constexpr size_t kNoShareBytes = 128;
inline constexpr size_t kPageBytes = 4096;
inline constexpr uint64_t kLaneMagic = 0x31504f484f52455a;  // "ZEROHOP1" as bytes
inline constexpr uint32_t kLaneVersion = 4;

// Sizes that both sides derive every offset from.
struct LaneGeometry {
  uint32_t ring_cells = 1024;                 // a power of two, of either ring
  uint32_t reserved = 0;                      // 0
  uint64_t request_arena_bytes = 32u << 20;   // a power of two
  uint64_t response_arena_bytes = 64u << 20;  // a power of two
};
static_assert(sizeof(LaneGeometry) == 24);

// First line of the broker segment; complete before the segment is offered.
//
//   byte  field       written by the broker, once
//      0  magic       kLaneMagic
//      8  version     kLaneVersion
//     12  replica     index of the replica that this lane was made for
//     16  epoch       the broker's incarnation
//     24  generation  the replica's incarnation
//     32  geometry    LaneGeometry
struct alignas(kNoShareBytes) LaneHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t replica;
  uint64_t epoch;
  uint64_t generation;
  LaneGeometry geometry;
};
static_assert(sizeof(LaneHeader) == 128 && offsetof(LaneHeader, geometry) == 32);

// A 64-bit word on a line of its own.
struct alignas(kNoShareBytes) Line64 {
  std::atomic<uint64_t> value;
};
// A futex word on a line of its own.
struct alignas(kNoShareBytes) Line32 {
  std::atomic<uint32_t> value;
};
static_assert(sizeof(Line64) == 128 && sizeof(Line32) == 128);
// Only lock-free atomics are address-free, hence valid through two mappings.
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

// What the broker writes while a lane lives.
//
//   byte  field            meaning
//      0  submission_tail  submissions published so far
//    128  completion_head  completions taken so far
//    256  submission_rings bell: the replica sleeps on it
//    384  quiet            1: one request at a time, and spinning for the next pays
struct BrokerLines {
  Line64 submission_tail;
  Line64 completion_head;
  Line32 submission_rings;
  Line32 quiet;
};
static_assert(sizeof(BrokerLines) == 512 && offsetof(BrokerLines, submission_rings) == 256);
static_assert(offsetof(BrokerLines, quiet) == 384);

// First line of the replica segment.
//
//   byte  field  written by the replica
//      0  ready  0 until the shim serves; then the lane's generation, stored last
struct alignas(kNoShareBytes) ReplicaHeader {
  std::atomic<uint64_t> ready;
};

// What a replica says of itself; see heartbeat.h.
//
//   byte  field     written by
//      0  beat      the shim's side thread, every beat interval
//    128  progress  the worker, at each step
//    136  phase     the worker, a Phase
struct HeartbeatSlot {
  alignas(kNoShareBytes) std::atomic<uint64_t> beat;
  alignas(kNoShareBytes) std::atomic<uint64_t> progress;
  std::atomic<uint32_t> phase;
};
static_assert(sizeof(HeartbeatSlot) == 256 && offsetof(HeartbeatSlot, progress) == 128);
static_assert(offsetof(HeartbeatSlot, phase) == 136);

// What the replica writes while a lane lives.
//
//   byte  field                meaning
//      0  submission_head      submissions taken so far
//    128  completion_tail      completions published so far
//    256  heartbeat            HeartbeatSlot
//    512  submission_sleeping  1 while the worker sleeps on the submission bell
//    640  lifeline             held by the side thread; the kernel marks it when that thread dies
//    (lifeline_word.h)
struct ReplicaLines {
  Line64 submission_head;
  Line64 completion_tail;
  HeartbeatSlot heartbeat;
  Line32 submission_sleeping;
  Line32 lifeline;
};
static_assert(sizeof(ReplicaLines) == 768 && offsetof(ReplicaLines, submission_sleeping) == 512);
static_assert(offsetof(ReplicaLines, lifeline) == 640);

// The bell that every replica of a broker rings, in a segment of its own.
// The one line that several processes write: a ring is a hint, so a liar can
// wake the broker needlessly or, clearing `sleeping`, delay it by one bounded
// sleep; it cannot lose work.
//
//   byte  field     written by
//      0  rings     every replica, and the broker's own threads
//    128  sleeping  the lane thread, or a front thread that attends (Sleeping in bell.h)
struct BellLines {
  Line32 rings;
  Line32 sleeping;
};
static_assert(sizeof(BellLines) == 256 && offsetof(BellLines, sleeping) == 128);

// One shard on its way to a replica. Names its prompts and the place of its rows.
//
//   byte  field
//      0  cookie                 64 random bits, copied into the completion
//      8  deadline_monotonic_ns  CLOCK_MONOTONIC; 0: none
//     16  request_offset         a prompt block (prompt_block.h) in the request arena
//     24  response_offset        rows x dim x 4 bytes in the response arena (row.h)
//     32  request_length         bytes
//     36  response_length        bytes
//     40  slot                   the broker's in-flight slot, index of the cancel word
//     44  rows                   prompts, and rows to write
//     48  dim                    floats a row
//     52  kind                   PromptKind: 0 text, 1 token ids
//     56  priority               lower is served earlier
//     60  reserved               0
struct Submission {
  uint64_t cookie;
  int64_t deadline_monotonic_ns;
  uint64_t request_offset;
  uint64_t response_offset;
  uint32_t request_length;
  uint32_t response_length;
  uint32_t slot;
  uint32_t rows;
  uint32_t dim;
  uint32_t kind;
  int32_t priority;
  uint32_t reserved;
};
static_assert(sizeof(Submission) == 64 && offsetof(Submission, slot) == 40);
static_assert(std::is_trivially_copyable_v<Submission>);

// How a replica ended a submission.
enum class CompletionStatus : uint32_t {
  kOk = 0,         // every row is written
  kRejected = 1,   // prompt `failed_prompt` is not acceptable; detail says why; never retried
  kFailed = 2,     // the engine failed; detail says why; another replica may succeed
  kWithdrawn = 3,  // cancelled or past its deadline before it ran
};

// Longest detail that is written or read: it becomes a status message, which travels in a header.
inline constexpr uint32_t kMaxDetailBytes = 1024;

// One answer. Its detail, if any, is UTF-8 at the start of the response region.
//
//   byte  field
//      0  cookie         of the submission
//      8  busy_ns        engine time that this submission took part in
//     16  slot           of the submission
//     20  status         CompletionStatus
//     24  rows           rows written: all, or 0
//     28  failed_prompt  index within the submission, for kRejected
//     32  detail_length  bytes
//     36  tokens         tokens computed, special tokens included
//     40  reserved       0
struct Completion {
  uint64_t cookie;
  uint64_t busy_ns;
  uint32_t slot;
  uint32_t status;
  uint32_t rows;
  uint32_t failed_prompt;
  uint32_t detail_length;
  uint32_t tokens;
  uint64_t reserved[3];
};
static_assert(sizeof(Completion) == 64 && offsetof(Completion, tokens) == 36);
static_assert(std::is_trivially_copyable_v<Completion>);

// Where each part of the two segments begins.
struct LaneOffsets {
  size_t broker_lines, cancel_words, submission_cells, request_arena, broker_bytes;
  size_t replica_lines, completion_cells, response_arena, replica_bytes;
};
LaneOffsets OffsetsOf(const LaneGeometry& geometry);

// Says what is wrong with sizes that a peer or a flag gave.
absl::Status Validate(const LaneGeometry& geometry);

}  // namespace zerohop

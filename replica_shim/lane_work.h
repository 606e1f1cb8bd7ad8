#pragma once

// What every worker does with a submission of its lane, however it feeds its
// engine: read its prompts, ask whether anybody still waits, publish its end.

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "replica_shim/engine.h"
#include "shm/lane.h"
#include "shm/prompt_block.h"

namespace zerohop {

// Longest sleep of a worker, and so the longest time until it sees new orders.
inline constexpr std::chrono::milliseconds kLongestSleep(250);

// The prompts of a submission, one after the other. What the broker wrote is
// right, but a check costs less than a wrong assumption.
class SubmissionReader {
 public:
  SubmissionReader(const ReplicaLane& lane, const Submission& submission, uint32_t dim);

  // False: the record names bytes outside its lane, or another dim than the engine's.
  bool possible() const { return possible_; }
  // The next prompt, with the place of its row. False where the block does not hold as many.
  bool Next(Prompt* prompt);

 private:
  const Submission& submission_;
  float* row_;  // of the next prompt
  PromptBlockReader block_;
  bool possible_;
};

// Withdrawn, or past its deadline.
bool NobodyWaitsFor(const ReplicaLane& lane, const Submission& submission,
                    std::chrono::steady_clock::time_point now);

// How a submission ended.
struct SubmissionEnd {
  CompletionStatus status = CompletionStatus::kOk;
  uint32_t failed_prompt = 0;  // kRejected, kFailed: index within the submission
  std::string detail{};        // kRejected, kFailed: one sentence
  uint32_t tokens = 0;
  uint64_t busy_ns = 0;
};

// The broker is not rung. InternalError where the ring has no room, which only a corrupt one has not.
absl::Status PublishEnd(ReplicaLane& lane, const Submission& submission, const SubmissionEnd& end);

}  // namespace zerohop

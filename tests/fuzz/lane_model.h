#pragma once

// Lane model: what the broker must believe of a lane, in plain code that shares
// nothing with broker/lanes: which completions are good, what is in flight,
// how much of the arenas is taken. It reads the lane's words itself.

#include <algorithm>
#include <vector>

#include "broker/lanes/shard.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/lying_replica.h"

namespace zerohop {

// A shard on the lane.
struct Posted {
  ShardRef shard;
  Submission submission;
  uint64_t position;  // in the submission ring
};

struct Belief {
  std::vector<Posted> finished;         // in the order of their completions
  std::vector<Completion> completions;  // of those
  uint64_t taken = 0;                   // cells
  bool garbage = false;
};

inline bool IsGood(const Completion& completion, const Submission& submission) {
  if (completion.cookie != submission.cookie) return false;
  if (completion.status == 0) return completion.rows == submission.rows && completion.detail_length == 0;
  if (completion.status > 3 || completion.rows != 0) return false;
  if (completion.detail_length > submission.response_length) return false;
  return completion.status == 3 || completion.failed_prompt < submission.rows;
}

// What a Reap must do, given what lies in shared memory now.
inline Belief Judge(std::vector<Posted> in_flight, LyingReplica& replica, uint32_t cells) {
  Belief belief;
  const uint64_t head = replica.broker_lines().completion_head.value;
  const uint64_t published = replica.lines().completion_tail.value - head;
  belief.garbage = published > cells;
  while (!belief.garbage && belief.taken < published) {
    const Completion completion = replica.completion(head + belief.taken++);
    const auto found = std::find_if(in_flight.begin(), in_flight.end(), [&](const Posted& posted) {
      return posted.submission.slot == completion.slot;
    });
    if (found == in_flight.end() || !IsGood(completion, found->submission)) {
      belief.garbage = true;
    } else {
      belief.finished.push_back(*found);
      belief.completions.push_back(completion);
      in_flight.erase(found);
    }
  }
  return belief;
}

}  // namespace zerohop

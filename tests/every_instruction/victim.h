#pragma once

// Victim: a replica's worker on its way through its work, always stopped
// between two instructions, and what others can see of it there.
// On the thread that made it (stepped_thread.h).

#include <cstdint>

#include "shm/lane.h"
#include "tests/every_instruction/code_map.h"
#include "tests/every_instruction/live_replica.h"
#include "tests/every_instruction/passage.h"
#include "tests/every_instruction/stepped_thread.h"

namespace zerohop {

// What the worker has written for others to see since it was stopped.
struct Visible {
  uint64_t taken = 0;      // submissions
  uint64_t published = 0;  // completions
  uint32_t rings = 0;      // of the broker's bell, which nobody else rings meanwhile
  bool idle = false;

  bool operator==(const Visible&) const = default;
};

class Victim {
 public:
  // Stops the replica where it waits for work. Throws where it cannot.
  Victim(const LiveReplica& replica, const BrokerBell& bell);

  // Read from mappings of the test's own: depends on the format, and on none of the code that is tested.
  Visible Look() const;
  void Step();
  void AppendPosition(Passage* passage) const;
  // Whether it stands where the walk stood after `k` instructions.
  bool IsAt(const Passage& passage, uint64_t k) const;
  // It has run `at` instructions of the passage: runs up to `to`, as far as it goes without a stop, or one.
  // How many it has run then.
  uint64_t Advance(const Passage& passage, uint64_t at, uint64_t to);

 private:
  bool asleep() const { return lines_->submission_sleeping.value == kAsleep; }

  Segment segment_;
  const ReplicaLines* lines_;
  const BellLines* bell_;
  SteppedThread thread_;
  CodeMap code_;
  Visible begin_;  // as it lay there when the worker was stopped
};

}  // namespace zerohop

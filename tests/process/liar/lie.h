#pragma once

// Lie: one way in which a replica breaks the rules, by name. Lies differ in what of the honest replica stays:
//
//   Beside  the shim's worker serves on, or nobody does; the lie is told on a thread of its own
//   Record  submissions are answered one at a time, and each completion is changed before it is published
//   Flow    the lie takes and answers submissions as it likes
//   Claim   the lie is told before the lane serves; afterwards nothing is ever completed

#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include "replica_shim/device_rows.h"
#include "replica_shim/session.h"
#include "shm/control_channel.h"
#include "shm/lane.h"
#include "tests/process/liar/raw_lane.h"

namespace zerohop {

// A file: while it exists, liars lie. The test makes it and takes it away.
class Trigger {
 public:
  explicit Trigger(std::string path) : path_(std::move(path)) {}
  bool Pulled() const;
  // Sleeps in short naps until the file exists, or no longer does.
  void Await(bool pulled) const;

 private:
  std::string path_;
};

// Prints the line by which the test knows that the lie is being told. Once for each process.
void Confess();

// What a lie may use.
struct Stage {
  const Trigger& trigger;
  RawLane& raw;
  ReplicaLane& lane;
  ControlChannel& control;
  Engine& engine;
  DeviceRows* rows;  // null where they are born on the host
};

// Takes and answers submissions one at a time, as the shim would.
class Hand {
 public:
  explicit Hand(Stage& stage) : stage_(stage) {}
  // False when none came for a short while.
  bool Take(Submission* submission);
  // Writes the rows; the completion is right. kSubmitted: a device may be at them still.
  enum class Rows { kThere, kSubmitted };
  Completion Answer(const Submission& submission, Rows wanted = Rows::kThere);
  // False where the ring has no room.
  bool Publish(const Completion& completion);

 private:
  Stage& stage_;
};

struct Beside {
  std::function<void(Stage&)> tell;
  bool serves = true;
  bool beats = true;  // false: the process beats until the trigger is pulled, no longer
};
struct Record {
  std::function<void(Stage&, const Submission&, Completion*)> tell;
  bool writes_rows = true;
};
struct Flow {
  std::function<void(Stage&, Hand&)> tell;  // in place of the loop; need not return
};
struct Claim {
  std::function<void(Ready*)> tell;
  bool marks_ready = true;
};
using Lie = std::variant<Beside, Record, Flow, Claim>;

// nullptr: no lie of this name in this table.
const Lie* FindMemoryLie(std::string_view name);
const Lie* FindRecordLie(std::string_view name);
const Lie* FindTalkLie(std::string_view name);
const Lie* FindDeviceLie(std::string_view name);

}  // namespace zerohop

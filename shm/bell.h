#pragma once

// Bell: wakes a sleeper in another process. A ring says 'look again'; it is
// always a hint, never the truth, and every sleep is bounded.
//
// `rings` is bumped by ringers, `sleeping` is set by the one sleeper; they may
// lie in different segments. The sleeper remembers how many rings it has
// answered, looks for work, and waits only while that count stands: a ring
// during the look ends the next wait at once. No ring is lost on the way to
// sleep either: in the single order of the four seq_cst operations either the
// sleeper's load of `rings` sees the bump, or the ringer's load of `sleeping`
// sees 1 and it wakes (a wait that begins later fails its compare).

#include <atomic>
#include <chrono>
#include <cstdint>

#include "shm/spin.h"

namespace zerohop {

// Values of `sleeping`.
//
//                    | sleeper sleeps | sleeper wakes | attendant comes | attendant dozes  | attendant goes
//  kAwake            | kAsleep        | kAwake        | refused         | refused          | kAwake
//  kAsleep           | -              | kAwake        | kAttended       | refused          | kAsleep
//  kAttended         | kAsleep        | kAwake        | refused         | kAttendantAsleep | kAsleep
//  kAttendantAsleep  | kAsleep        | kAwake        | refused         | refused          | - (it wakes:
//  kAttended)
enum Sleeping : uint32_t {
  kAwake = 0,            // the sleeper will look by itself
  kAsleep = 1,           // the sleeper must be woken
  kAttended = 2,         // the sleeper sleeps on: another thread of its process looks by itself
  kAttendantAsleep = 3,  // that other thread must be woken
};

// Any thread of any process that maps the words.
class BellRinger {
 public:
  BellRinger() = default;
  BellRinger(std::atomic<uint32_t>* rings, const std::atomic<uint32_t>* sleeping)
      : rings_(rings), sleeping_(sleeping) {}
  void Ring() const;

 private:
  std::atomic<uint32_t>* rings_ = nullptr;
  const std::atomic<uint32_t>* sleeping_ = nullptr;
};

// The one thread that waits.
class BellSleeper {
 public:
  BellSleeper() : spin_(std::chrono::nanoseconds(0)) {}
  BellSleeper(const std::atomic<uint32_t>* rings, std::atomic<uint32_t>* sleeping,
              std::chrono::nanoseconds spin_limit)
      : rings_(rings), sleeping_(sleeping), spin_(spin_limit) {}

  // Returns when the bell has rung since the last return, or `at_most` has
  // passed. Publish, then ring; wait, then look.
  void Wait(std::chrono::nanoseconds at_most, bool may_spin = true);
  // For a sleeper that can peek at its work: also returns when `has_work()`. While it spins it looks at that
  // alone, so it sees work before the ring that follows, and leaves the bell's line to the ringer. Such a
  // ring is answered later: after a spell of spins, the first sleep ends at once.
  template <typename HasWork>
  void Wait(std::chrono::nanoseconds at_most, bool may_spin, HasWork has_work) {
    const Spun spun = SpinUntil(has_work, Budget(may_spin));
    if (spun.seen) {
      spin_.Record(spun.took);
    } else {
      Sleep(at_most - spun.took, spun.took);
    }
  }

 private:
  std::chrono::nanoseconds Budget(bool may_spin) const {
    return may_spin ? spin_.budget() : std::chrono::nanoseconds(0);
  }
  // Not at all where the bell has rung since `answered_`.
  void Sleep(std::chrono::nanoseconds at_most, std::chrono::nanoseconds spun);

  const std::atomic<uint32_t>* rings_ = nullptr;
  std::atomic<uint32_t>* sleeping_ = nullptr;
  uint32_t answered_ = 0;  // rings seen after the last sleep
  SpinBudget spin_;
};

// A thread of the sleeper's process that takes the sleeper's place for a while, because it gives work away
// and expects it back soon: from Come to Go ringers let the sleeper sleep, and the attendant looks by itself.
// One attends at a time; an object belongs to one thread. The sleeper's bounded sleep may end and cut the
// attendance short: then the sleeper looks, and the attendant hears of it from Come or Wait.
class BellAttendant {
 public:
  enum class [[nodiscard]] Waited{
      kRang,      // since the last Looking
      kInVain,    // all of the time has passed
      kNoLonger,  // somebody else looks now
  };

  BellAttendant() = default;
  BellAttendant(const std::atomic<uint32_t>* rings, std::atomic<uint32_t>* sleeping)
      : rings_(rings), sleeping_(sleeping) {}

  // True when this thread attends from here on, or does so already. False: the sleeper is awake, or another
  // attends.
  bool Come();
  // Until the bell rings, at most `at_most`; awake for the first `spin` of it.
  Waited Wait(std::chrono::nanoseconds at_most, std::chrono::nanoseconds spin);
  // Before each look: what rings from here on ends the next Wait.
  void Looking();
  // Ringers wake the sleeper from here on. The caller looks once more: for what came before nobody was woken.
  void Go();

 private:
  const std::atomic<uint32_t>* rings_ = nullptr;
  std::atomic<uint32_t>* sleeping_ = nullptr;
  uint32_t answered_ = 0;  // rings seen at the last look
  bool here_ = false;
};

// CPUs this process may really use: affinity, and the cgroup's quota rounded down (at least 1).
int UsableCpus();

}  // namespace zerohop

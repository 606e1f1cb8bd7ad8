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

namespace zerohop {

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

// How long a sleeper spins before it sleeps. Adapts to what spinning wins:
// doubled by a hit, halved by a miss, within 0 .. limit; a limit of 0 (no core
// to spare) never spins.
class SpinBudget {
 public:
  explicit SpinBudget(std::chrono::nanoseconds limit) : limit_(limit), budget_(limit) {}
  std::chrono::nanoseconds budget() const { return budget_; }
  void Hit();
  void Miss();

 private:
  std::chrono::nanoseconds limit_;
  std::chrono::nanoseconds budget_;
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
  void Wait(std::chrono::nanoseconds at_most);

 private:
  bool Spin();

  const std::atomic<uint32_t>* rings_ = nullptr;
  std::atomic<uint32_t>* sleeping_ = nullptr;
  uint32_t answered_ = 0;  // rings seen at the last return
  SpinBudget spin_;
};

// CPUs this process may really use: affinity, and the cgroup's quota rounded down (at least 1).
int UsableCpus();

}  // namespace zerohop

#pragma once

// Admission: how much may wait. What goes beyond is refused at once, with the
// numbers, instead of waiting in a queue that nobody will see the end of.
// Counts accepted requests until they are answered. Any thread, no lock.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

namespace zerohop {

struct AdmissionLimits {
  uint64_t requests = 4096;            // accepted and not yet answered
  uint64_t prompts = 1u << 20;         // in them
  uint64_t bytes = uint64_t{2} << 30;  // of their texts and of their answers
};

class Admission {
 public:
  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}

  // Nothing when the request is in; else why not.
  std::optional<std::string> Enter(uint64_t prompts, uint64_t bytes);
  void Leave(uint64_t prompts, uint64_t bytes);
  // Relaxed: a figure for people.
  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  const AdmissionLimits& limits() const { return limits_; }

 private:
  // Counters alone; nothing is read through them, so relaxed suffices.
  const AdmissionLimits limits_;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> prompts_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace zerohop

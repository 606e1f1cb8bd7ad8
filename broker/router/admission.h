#pragma once

// Admission: how much may wait. What goes beyond is refused at once, with the
// numbers, instead of waiting in a queue that nobody will see the end of.
// Requests and prompts count until they are answered, bytes until the answer is
// sent: what a client does not read is memory, too. Any thread, no lock.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

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
  void Leave(uint64_t prompts);  // answered; its bytes stay until ReleaseBytes
  void ReleaseBytes(uint64_t bytes) {
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);  // EDGE(admission) relaxed: a counter alone
  }
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

// Bytes that an answer still holds; given back when this goes, which may be
// after the router. Move-only.
class AdmittedBytes {
 public:
  AdmittedBytes() = default;
  AdmittedBytes(std::shared_ptr<Admission> admission, uint64_t bytes)
      : admission_(std::move(admission)), bytes_(bytes) {}
  AdmittedBytes(AdmittedBytes&& other) noexcept { *this = std::move(other); }
  AdmittedBytes& operator=(AdmittedBytes&& other) noexcept {
    std::swap(admission_, other.admission_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~AdmittedBytes() {
    if (admission_ != nullptr) admission_->ReleaseBytes(bytes_);
  }

 private:
  std::shared_ptr<Admission> admission_;
  uint64_t bytes_ = 0;
};

}  // namespace zerohop

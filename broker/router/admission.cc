#include "broker/router/admission.h"

namespace zerohop {
namespace {

// True, and counted, when `add` more stay within `limit`.
bool Take(std::atomic<uint64_t>& counter, uint64_t add, uint64_t limit) {
  // EDGE(admission) relaxed: a counter alone. Never above the limit, so that what is refused refuses nobody
  // else.
  uint64_t now = counter.load(std::memory_order_relaxed);
  do {
    if (add > limit || now > limit - add) return false;
    // EDGE(admission) relaxed: as above.
  } while (!counter.compare_exchange_weak(now, now + add, std::memory_order_relaxed));
  return true;
}

std::string Full(const char* what, uint64_t now, uint64_t add, uint64_t limit, const char* flag) {
  return std::string("The queue is full: ") + std::to_string(now) + " " + what +
         " are queued or running, this request adds " + std::to_string(add) + ", and the limit is " +
         std::to_string(limit) + " (" + flag + ")";
}

}  // namespace

std::optional<std::string> Admission::Enter(uint64_t prompts, uint64_t bytes) {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // EDGE(admission) relaxed: counters alone
  if (!Take(requests_, 1, limits_.requests)) {
    return Full("requests", requests_.load(kRelaxed), 1, limits_.requests, "--max-queue");
  }
  if (!Take(prompts_, prompts, limits_.prompts)) {
    requests_.fetch_sub(1, kRelaxed);
    return Full("prompts", prompts_.load(kRelaxed), prompts, limits_.prompts, "--max-queue-prompts");
  }
  if (!Take(bytes_, bytes, limits_.bytes)) {
    requests_.fetch_sub(1, kRelaxed);
    prompts_.fetch_sub(prompts, kRelaxed);
    return Full("bytes", bytes_.load(kRelaxed), bytes, limits_.bytes, "--max-queue-mib");
  }
  return std::nullopt;
}

void Admission::Leave(uint64_t prompts) {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // EDGE(admission) relaxed: counters alone
  requests_.fetch_sub(1, kRelaxed);
  prompts_.fetch_sub(prompts, kRelaxed);
}

}  // namespace zerohop

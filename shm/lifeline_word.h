#pragma once

// Lifeline word: by which the kernel itself tells that a replica is dying.
//
// The pidfd speaks only when all of a process is gone, and taking the memory of
// a loaded model apart takes the kernel milliseconds. It ends a thread's robust
// futexes first of all. So the replica's side thread holds one, as long as it lives:
//
//   0                  nobody holds it: not begun, or ended as it should
//   tid | WAITERS      held by the replica's side thread
//   OWNER_DIED | ...   that thread has died, and its process with it
//
// A hint like every word in the lane: a replica could write it, too, and is
// then killed for a death that it only claimed.

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

namespace zerohop {

// The shim's view: held from construction to destruction, by the thread that does both.
class LifelineHolder {
 public:
  explicit LifelineHolder(std::atomic<uint32_t>* word);
  ~LifelineHolder();
  LifelineHolder(const LifelineHolder&) = delete;

 private:
  std::atomic<uint32_t>* word_;
  // What the kernel walks when the thread dies.
  robust_list entry_{};
  robust_list_head head_{};
  robust_list_head* before_ = nullptr;  // the C library's, which holds nothing in this thread
};

// The broker's view. The word lives as long as its lane is mapped.
class LifelineReader {
 public:
  LifelineReader() = default;
  explicit LifelineReader(const std::atomic<uint32_t>* word) : word_(word) {}

  static bool IsBroken(uint32_t value) { return (value & FUTEX_OWNER_DIED) != 0; }
  // Relaxed: the value is the whole message.
  uint32_t value() const { return word_->load(std::memory_order_relaxed); }
  const std::atomic<uint32_t>* word() const { return word_; }

 private:
  const std::atomic<uint32_t>* word_ = nullptr;
};

}  // namespace zerohop

#pragma once

// A single-producer single-consumer ring between two processes, in the manner
// of io_uring: positions are 64-bit, only grow, and lie on lines of their own.
//
// The two positions and the cells may lie in different segments: what one side
// writes, the other maps read-only. Each view caches the other side's position
// so that the common case moves no foreign cache line.
// Either process may die between any two instructions; the peer's position is
// input, so each view checks it: head <= tail <= head + capacity.
// Each view belongs to one thread at a time.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace zerohop {

enum class [[nodiscard]] RingResult{
    kDone,
    kFull,     // push: no free cell
    kEmpty,    // take: nothing published
    kCorrupt,  // the peer's position breaks the invariant; nothing was done
};

template <typename Cell>
class RingProducer {
  static_assert(std::is_trivially_copyable_v<Cell>);

 public:
  RingProducer() = default;
  RingProducer(std::atomic<uint64_t>* tail, const std::atomic<uint64_t>* head, Cell* cells, uint32_t capacity)
      : tail_(tail), head_(head), cells_(cells), capacity_(capacity) {}

  RingResult Push(const Cell& cell) {
    const uint64_t tail = tail_->load(std::memory_order_relaxed);  // only we write it
    if (tail - cached_head_ >= capacity_) {
      // EDGE(reuse) acquire: the consumer has finished reading the cell we overwrite.
      cached_head_ = head_->load(std::memory_order_acquire);
      if (tail - cached_head_ > capacity_) return RingResult::kCorrupt;
      if (tail - cached_head_ == capacity_) return RingResult::kFull;
    }
    cells_[tail & (capacity_ - 1)] = cell;
    // EDGE(publish) release: the cell, and the region it names, are complete.
    tail_->store(tail + 1, std::memory_order_release);
    return RingResult::kDone;
  }

  // Positions the consumer has taken, as it says; clamped to what is possible.
  uint64_t TakenByConsumer() const {
    const uint64_t tail = tail_->load(std::memory_order_relaxed);  // only we write it
    const uint64_t head = head_->load(std::memory_order_relaxed);  // a count, nothing is read through it
    return tail - head > capacity_ ? tail : head;
  }
  uint64_t published() const {
    return tail_->load(std::memory_order_relaxed);  // only we write it
  }

 private:
  std::atomic<uint64_t>* tail_ = nullptr;
  const std::atomic<uint64_t>* head_ = nullptr;
  Cell* cells_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t cached_head_ = 0;
};

template <typename Cell>
class RingConsumer {
  static_assert(std::is_trivially_copyable_v<Cell>);

 public:
  RingConsumer() = default;
  RingConsumer(const std::atomic<uint64_t>* tail, std::atomic<uint64_t>* head, const Cell* cells,
               uint32_t capacity)
      : tail_(tail), head_(head), cells_(cells), capacity_(capacity) {}

  // Copies the next cell out; the caller checks the copy, never the cell,
  // because a lying peer may rewrite the cell meanwhile.
  RingResult Take(Cell* cell) {
    const uint64_t head = head_->load(std::memory_order_relaxed);  // only we write it
    if (cached_tail_ == head) {
      // EDGE(publish) acquire: the cell, and the region it names, are complete.
      cached_tail_ = tail_->load(std::memory_order_acquire);
      if (cached_tail_ - head > capacity_) {
        cached_tail_ = head;
        return RingResult::kCorrupt;
      }
      if (cached_tail_ == head) return RingResult::kEmpty;
    }
    std::memcpy(cell, &cells_[head & (capacity_ - 1)], sizeof(Cell));
    // EDGE(reuse) release: we have finished reading the cell.
    head_->store(head + 1, std::memory_order_release);
    return RingResult::kDone;
  }

  bool Empty() const { return Waiting() == 0; }
  // Published and not taken, as the producer says; clamped to what is possible.
  uint64_t Waiting() const {
    // A peek: Take reads again with acquire before it uses a cell.
    const uint64_t ahead = tail_->load(std::memory_order_relaxed) - head_->load(std::memory_order_relaxed);
    return ahead > capacity_ ? capacity_ : ahead;
  }

 private:
  const std::atomic<uint64_t>* tail_ = nullptr;
  std::atomic<uint64_t>* head_ = nullptr;
  const Cell* cells_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t cached_tail_ = 0;
};

}  // namespace zerohop

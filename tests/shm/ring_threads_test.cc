// Two threads through one ring. ThreadSanitizer sees every edge here, because
// both views use one mapping.

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "shm/ring.h"

namespace zerohop {
namespace {

constexpr uint32_t kCells = 16;
constexpr uint64_t kRounds = 100'000;

TEST(RingThreads, EveryCellArrivesOnceWholeAndInOrder) {
  struct Cell {
    uint64_t round;
    uint64_t check;
  };
  std::atomic<uint64_t> tail{0}, head{0};
  std::array<Cell, kCells> cells{};

  std::thread producing([&] {
    RingProducer<Cell> producer(&tail, &head, cells.data(), kCells);
    for (uint64_t round = 0; round < kRounds;) {
      const RingResult result = producer.Push({round, ~round});
      if (result == RingResult::kFull) {
        std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(result, RingResult::kDone);
      ++round;
    }
  });
  RingConsumer<Cell> consumer(&tail, &head, cells.data(), kCells);
  for (uint64_t round = 0; round < kRounds;) {
    Cell cell{};
    const RingResult result = consumer.Take(&cell);
    if (result == RingResult::kEmpty) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(result, RingResult::kDone);
    ASSERT_EQ(cell.round, round);
    ASSERT_EQ(cell.check, ~round);
    ++round;
  }
  producing.join();
}

// There and back: requests one way, answers the other, payload beside both.
TEST(RingThreads, RegionComesBackWithItsAnswer) {
  std::atomic<uint64_t> tail_there{0}, head_there{0}, tail_back{0}, head_back{0};
  std::array<uint32_t, kCells> there{}, back{};
  std::array<std::array<uint64_t, 8>, kCells> regions{};

  std::thread serving([&] {
    RingConsumer<uint32_t> requests(&tail_there, &head_there, there.data(), kCells);
    RingProducer<uint32_t> answers(&tail_back, &head_back, back.data(), kCells);
    for (uint64_t served = 0; served < kRounds;) {
      uint32_t region = 0;
      if (requests.Take(&region) != RingResult::kDone) {
        std::this_thread::yield();
        continue;
      }
      for (uint64_t& word : regions[region]) word = word * 3 + 1;
      ASSERT_EQ(answers.Push(region), RingResult::kDone);
      ++served;
    }
  });
  RingProducer<uint32_t> requests(&tail_there, &head_there, there.data(), kCells);
  RingConsumer<uint32_t> answers(&tail_back, &head_back, back.data(), kCells);
  std::vector<uint32_t> free(kCells);
  for (uint32_t i = 0; i < kCells; ++i) free[i] = i;
  std::array<uint64_t, kCells> sent{};
  for (uint64_t posted = 0, answered = 0; answered < kRounds;) {
    if (posted < kRounds && !free.empty()) {
      const uint32_t region = free.back();
      free.pop_back();
      sent[region] = posted;
      regions[region].fill(posted);
      ASSERT_EQ(requests.Push(region), RingResult::kDone);
      ++posted;
    }
    uint32_t region = 0;
    if (answers.Take(&region) != RingResult::kDone) {
      if (free.empty()) std::this_thread::yield();
      continue;
    }
    for (uint64_t word : regions[region]) ASSERT_EQ(word, sent[region] * 3 + 1);
    free.push_back(region);
    ++answered;
  }
  serving.join();
}

}  // namespace
}  // namespace zerohop

// The ring against a plain model, and against peers that lie.

#include "shm/ring.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>

namespace zerohop {
namespace {

struct Cell {
  uint64_t value;
  uint64_t twice;
};

constexpr uint32_t kCells = 16;

// A ring and its two views, after `used` cells have gone through.
struct Ring {
  explicit Ring(uint64_t used = 0) {
    for (uint64_t i = 0; i < used; ++i) {
      Cell cell{};
      EXPECT_EQ(producer.Push({i, 2 * i}), RingResult::kDone);
      EXPECT_EQ(consumer.Take(&cell), RingResult::kDone);
    }
  }

  std::atomic<uint64_t> tail{0}, head{0};
  std::array<Cell, kCells> cells{};
  RingProducer<Cell> producer{&tail, &head, cells.data(), kCells};
  RingConsumer<Cell> consumer{&tail, &head, cells.data(), kCells};
};

TEST(Ring, NewRingIsEmpty) {
  Ring ring;
  Cell cell{};
  EXPECT_TRUE(ring.consumer.Empty());
  EXPECT_EQ(ring.consumer.Take(&cell), RingResult::kEmpty);
}

TEST(Ring, HoldsExactlyItsCapacity) {
  Ring ring;
  for (uint64_t i = 0; i < kCells; ++i) ASSERT_EQ(ring.producer.Push({i, 2 * i}), RingResult::kDone);
  EXPECT_EQ(ring.producer.Push({99, 198}), RingResult::kFull);
  EXPECT_EQ(ring.producer.published(), kCells);
  Cell cell{};
  for (uint64_t i = 0; i < kCells; ++i) {
    ASSERT_EQ(ring.consumer.Take(&cell), RingResult::kDone);
    EXPECT_EQ(cell.value, i);
  }
  EXPECT_EQ(ring.consumer.Take(&cell), RingResult::kEmpty);
  EXPECT_EQ(ring.producer.TakenByConsumer(), kCells);
}

TEST(Ring, BehavesAsAQueueUnderRandomOperations) {
  Ring ring;
  std::deque<uint64_t> model;
  std::mt19937 random(42);
  uint64_t next = 0;
  for (int round = 0; round < 100'000; ++round) {
    // Long runs of one kind, so that both ends of the range are met.
    const bool push = (round / 64 % 2 == 0) ? random() % 4 != 0 : random() % 4 == 0;
    if (push) {
      const RingResult result = ring.producer.Push({next, 2 * next});
      ASSERT_EQ(result, model.size() == kCells ? RingResult::kFull : RingResult::kDone);
      if (result == RingResult::kDone) model.push_back(next++);
    } else {
      Cell cell{};
      const RingResult result = ring.consumer.Take(&cell);
      ASSERT_EQ(result, model.empty() ? RingResult::kEmpty : RingResult::kDone);
      if (result != RingResult::kDone) continue;
      ASSERT_EQ(cell.value, model.front());
      ASSERT_EQ(cell.twice, 2 * model.front());
      model.pop_front();
    }
    ASSERT_EQ(ring.consumer.Empty(), model.empty());
    ASSERT_EQ(ring.producer.published() - ring.producer.TakenByConsumer(), model.size());
  }
}

TEST(Ring, ProducerRefusesAnImpossibleHead) {
  for (uint64_t lie : {uint64_t{17}, uint64_t{100}, uint64_t{1} << 63, ~uint64_t{0}}) {
    Ring ring;
    for (uint64_t i = 0; i < kCells; ++i) ASSERT_EQ(ring.producer.Push({i, 0}), RingResult::kDone);
    ring.head = lie;  // tail is 16
    EXPECT_EQ(ring.producer.Push({99, 0}), RingResult::kCorrupt) << lie;
    EXPECT_EQ(ring.tail, kCells) << "nothing was published";
    EXPECT_EQ(ring.cells[0].value, 0u) << "nothing was written";
    EXPECT_EQ(ring.producer.Push({99, 0}), RingResult::kCorrupt) << "and it stays so";
    EXPECT_EQ(ring.producer.TakenByConsumer(), kCells) << "all may have been begun";
  }
}

TEST(Ring, ProducerRefusesAHeadThatWentBack) {
  Ring ring(1000);
  for (uint64_t i = 0; i < kCells; ++i) ASSERT_EQ(ring.producer.Push({i, 0}), RingResult::kDone);
  ring.head = 999;
  EXPECT_EQ(ring.producer.Push({99, 0}), RingResult::kCorrupt);
}

TEST(Ring, ConsumerRefusesAnImpossibleTail) {
  for (uint64_t lie : {uint64_t{117}, uint64_t{99}, uint64_t{0}, ~uint64_t{0}}) {
    Ring ring(100);
    ring.tail = lie;
    Cell cell{77, 0};
    EXPECT_EQ(ring.consumer.Take(&cell), RingResult::kCorrupt) << lie;
    EXPECT_EQ(cell.value, 77u) << "nothing was copied";
    EXPECT_EQ(ring.head, 100u) << "nothing was taken";
    EXPECT_EQ(ring.consumer.Take(&cell), RingResult::kCorrupt) << "and it stays so";
    EXPECT_FALSE(ring.consumer.Empty()) << "a look is due";
  }
}

TEST(Ring, ConsumerTakesWhatAFullRingMayHold) {
  Ring ring(100);
  ring.tail = 100 + kCells;
  Cell cell{};
  EXPECT_EQ(ring.consumer.Take(&cell), RingResult::kDone);
}

}  // namespace
}  // namespace zerohop

#include "broker/front/recycled.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace zerohop {
namespace {

struct Call final : Recycled<Call> {
  explicit Call(int* count) : ended(count) {}
  ~Call() { ++*ended; }
  int* ended;
  std::byte bytes[200];
};

// Nothing is kept where AddressSanitizer watches.
constexpr bool kKeeps = kMostKept > 0;

TEST(Recycled, NextObjectTakesTheMemoryOfTheLast) {
  int ended = 0;
  auto* first = new Call(&ended);
  const void* block = first;
  delete first;
  EXPECT_EQ(ended, 1);
  const std::unique_ptr<Call> second(new Call(&ended));
  EXPECT_EQ(second.get() == block, kKeeps);
}

TEST(Recycled, LiveObjectsHaveMemoryOfTheirOwn) {
  int ended = 0;
  std::set<std::unique_ptr<Call>> calls;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 2 * kMostKept + 2; ++i) calls.insert(std::unique_ptr<Call>(new Call(&ended)));
    ASSERT_EQ(calls.size(), 2 * kMostKept + 2);
    ASSERT_EQ(RecycledMemory<Call>::kept(), 0u) << "what was kept is used first";
    calls.clear();
    ASSERT_EQ(RecycledMemory<Call>::kept(), kMostKept);
  }
}

TEST(Recycled, AnotherThreadMayGiveBack) {
  int ended = 0;
  const std::unique_ptr<Call> ours(new Call(&ended));
  auto* theirs = new Call(&ended);
  const void* block = theirs;
  std::thread([&] {
    delete theirs;
    const std::unique_ptr<Call> next(new Call(&ended));
    EXPECT_EQ(next.get() == block, kKeeps);
  }).join();
  EXPECT_EQ(ended, 2);
}

TEST(Recycled, SharedObjectsTakeTheMemoryOfTheLast) {
  using Numbers = std::vector<int>;
  auto first = std::allocate_shared<Numbers>(RecyclingAllocator<Numbers>(), 3);
  const void* block = first.get();
  first.reset();
  const auto second = std::allocate_shared<Numbers>(RecyclingAllocator<Numbers>(), 5);
  EXPECT_EQ(second.get() == block, kKeeps);
  EXPECT_EQ(second->size(), 5u);
}

}  // namespace
}  // namespace zerohop

#include "broker/lanes/region_allocator.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <random>

namespace zerohop {
namespace {

constexpr uint64_t kArena = 64 << 10;

uint64_t Rounded(uint64_t bytes) {
  return std::max(RegionAllocator::kSmallest, std::bit_ceil(bytes));
}

TEST(RegionAllocator, WholeArenaIsOneRegion) {
  RegionAllocator allocator(kArena);
  EXPECT_EQ(allocator.Allocate(kArena), 0u);
  EXPECT_EQ(allocator.free_bytes(), 0u);
  EXPECT_EQ(allocator.Allocate(1), std::nullopt);
  allocator.Free(0);
  EXPECT_EQ(allocator.free_bytes(), kArena);
}

TEST(RegionAllocator, MoreThanTheArenaIsRefused) {
  RegionAllocator allocator(kArena);
  EXPECT_EQ(allocator.Allocate(kArena + 1), std::nullopt);
  EXPECT_EQ(allocator.Allocate(~uint64_t{0}), std::nullopt);
  EXPECT_EQ(allocator.free_bytes(), kArena);
}

TEST(RegionAllocator, NothingTakesTheSmallestRegion) {
  RegionAllocator allocator(kArena);
  EXPECT_TRUE(allocator.Allocate(0).has_value());
  EXPECT_EQ(allocator.free_bytes(), kArena - RegionAllocator::kSmallest);
}

TEST(RegionAllocator, ArenaOfOneBlockWorks) {
  RegionAllocator allocator(RegionAllocator::kSmallest);
  EXPECT_EQ(allocator.Allocate(512), 0u);
  EXPECT_EQ(allocator.Allocate(1), std::nullopt);
  allocator.Free(0);
  EXPECT_EQ(allocator.Allocate(1), 0u);
}

TEST(RegionAllocator, SmallRegionsFillTheArenaToTheLastByte) {
  RegionAllocator allocator(kArena);
  for (uint64_t i = 0; i < kArena / 512; ++i) ASSERT_TRUE(allocator.Allocate(512).has_value());
  EXPECT_EQ(allocator.Allocate(1), std::nullopt);
  EXPECT_EQ(allocator.free_bytes(), 0u);
}

TEST(RegionAllocator, RegionFreedLastIsTheNextOfItsSize) {
  RegionAllocator allocator(kArena);
  const auto first = allocator.Allocate(512), second = allocator.Allocate(512);
  allocator.Free(*first);
  allocator.Free(*second);
  EXPECT_EQ(allocator.free_bytes(), kArena);
  EXPECT_EQ(allocator.Allocate(512), second);
  EXPECT_EQ(allocator.free_bytes(), kArena - 512);
}

TEST(RegionAllocator, RegionFreedLastIsRoomForAnySize) {
  RegionAllocator allocator(kArena);
  for (uint64_t bytes = 512; bytes <= kArena; bytes *= 2) {
    const auto region = allocator.Allocate(bytes);
    ASSERT_EQ(region, 0u);
    allocator.Free(*region);
  }
  EXPECT_EQ(allocator.Allocate(1), 0u);
}

TEST(RegionAllocator, RandomRegionsNeverOverlapAndAllComesBack) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    RegionAllocator allocator(kArena);
    std::map<uint64_t, uint64_t> model;  // offset -> size
    uint64_t taken = 0;
    for (int round = 0; round < 5'000; ++round) {
      if (random() % 2 == 0) {
        const uint64_t bytes = random() % (1u << (random() % 16)) + 1;
        const auto offset = allocator.Allocate(bytes);
        if (!offset) {
          ASSERT_LT(kArena - taken, kArena) << "an empty arena refused " << bytes;
          continue;
        }
        const uint64_t size = Rounded(bytes);
        ASSERT_EQ(*offset % size, 0u) << "a buddy lies at a multiple of its size";
        ASSERT_LE(*offset + size, kArena);
        const auto after = model.lower_bound(*offset);
        ASSERT_TRUE(after == model.end() || *offset + size <= after->first);
        ASSERT_TRUE(after == model.begin() || std::prev(after)->first + std::prev(after)->second <= *offset);
        model.emplace(*offset, size);
        taken += size;
      } else if (!model.empty()) {
        auto one = std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
        allocator.Free(one->first);
        taken -= one->second;
        model.erase(one);
      }
      ASSERT_EQ(allocator.free_bytes(), kArena - taken);
    }
    for (const auto& [offset, size] : model) allocator.Free(offset);
    EXPECT_EQ(allocator.Allocate(kArena), 0u) << "freed neighbours join again";
  }
}

// What a buddy allocator owes: a free aligned block of the size is always found.
TEST(RegionAllocator, RefusesOnlyWhereNoAlignedBlockIsFree) {
  std::mt19937 random(9);
  RegionAllocator allocator(kArena);
  std::map<uint64_t, uint64_t> model;
  const auto has_free_block = [&](uint64_t size) {
    for (uint64_t at = 0; at < kArena; at += size) {
      const auto after = model.lower_bound(at);
      const bool clear = (after == model.end() || at + size <= after->first) &&
                         (after == model.begin() || std::prev(after)->first + std::prev(after)->second <= at);
      if (clear) return true;
    }
    return false;
  };
  for (int round = 0; round < 10'000; ++round) {
    const uint64_t size = RegionAllocator::kSmallest << (random() % 7);
    if (random() % 5 < 3) {
      const bool possible = has_free_block(size);
      const auto offset = allocator.Allocate(size);
      ASSERT_EQ(offset.has_value(), possible);
      if (offset) model.emplace(*offset, size);
    } else if (!model.empty()) {
      auto one = std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
      allocator.Free(one->first);
      model.erase(one);
    }
  }
}

}  // namespace
}  // namespace zerohop

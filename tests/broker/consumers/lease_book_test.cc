#include "broker/consumers/lease_book.h"

#include <gtest/gtest.h>

#include <vector>

namespace zerohop {
namespace {

constexpr uint64_t kArena = 64 << 10;

TEST(LeaseBook, TheStartOfTheArenaIsNeverLeased) {
  LeaseBook book(kArena);
  size_t regions = 0;
  while (const auto offset = book.Reserve(512)) {
    EXPECT_NE(*offset, 0u) << "there stands the proof";
    ++regions;
  }
  EXPECT_EQ(regions, kArena / 512 - 1);
}

TEST(LeaseBook, RoomComesBackWithTheLease) {
  LeaseBook book(kArena);
  const auto offset = book.Reserve(kArena / 2);
  ASSERT_TRUE(offset);
  EXPECT_FALSE(book.Reserve(kArena / 2));
  const uint64_t lease = book.Lease(*offset);
  EXPECT_EQ(book.held(), 1u);
  EXPECT_FALSE(book.Reserve(kArena / 2)) << "it is read still";
  EXPECT_TRUE(book.Return(lease));
  EXPECT_EQ(book.held(), 0u);
  EXPECT_TRUE(book.Reserve(kArena / 2));
}

TEST(LeaseBook, TakenIsWhatRowsTakeThoseToComeIncluded) {
  LeaseBook book(kArena);
  EXPECT_EQ(book.taken_bytes(), 0u) << "the proof is nobody's";
  const auto to_come = book.Reserve(1000);
  EXPECT_EQ(book.taken_bytes(), 1024u);
  const uint64_t lease = book.Lease(*book.Reserve(512));
  EXPECT_EQ(book.taken_bytes(), 1024u + 512u);
  EXPECT_TRUE(book.Return(lease));
  book.Free(*to_come);
  EXPECT_EQ(book.taken_bytes(), 0u);
}

TEST(LeaseBook, RoomOfRowsThatDidNotComeIsFree) {
  LeaseBook book(kArena);
  const auto offset = book.Reserve(kArena / 2);
  ASSERT_TRUE(offset);
  book.Free(*offset);
  EXPECT_TRUE(book.Reserve(kArena / 2));
}

TEST(LeaseBook, ALeaseIsGivenBackOnce) {
  LeaseBook book(kArena);
  const uint64_t lease = book.Lease(*book.Reserve(512));
  EXPECT_TRUE(book.Return(lease));
  EXPECT_FALSE(book.Return(lease));
  const uint64_t next = book.Lease(*book.Reserve(512));
  EXPECT_NE(next, lease) << "the room is the same, the lease is another";
  EXPECT_FALSE(book.Return(lease)) << "nor does it end that of the next";
  EXPECT_EQ(book.held(), 1u);
}

TEST(LeaseBook, ALeaseThatWasNeverGivenIsNone) {
  LeaseBook book(kArena);
  const auto offset = book.Reserve(512);
  EXPECT_FALSE(book.Return(1)) << "its rows have not come yet";
  const uint64_t free_bytes = book.free_bytes();
  EXPECT_EQ(book.Lease(*offset), 1u);
  EXPECT_FALSE(book.Return(0));
  EXPECT_FALSE(book.Return(~uint64_t{0}));
  EXPECT_EQ(book.free_bytes(), free_bytes);
}

}  // namespace
}  // namespace zerohop

#include "shm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/support/must.h"

namespace zerohop {
namespace {

constexpr size_t kBytes = 8192;

Segment MakeSegment() {
  return Must(Segment::Create("test", kBytes, Access::kReadWrite));
}

// A memfd as a careless or hostile peer would make it.
UniqueFd MakeUnsealed(size_t bytes, int seals = 0) {
  UniqueFd fd(::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

TEST(Segment, NewSegmentIsZeroAndOfTheSizeAskedFor) {
  const Segment segment = MakeSegment();
  EXPECT_EQ(segment.size(), kBytes);
  EXPECT_TRUE(
      std::all_of(segment.data(), segment.data() + kBytes, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Segment, ReaderSeesWhatTheWriterWrites) {
  const Segment writer = MakeSegment();
  const Segment reader =
      Must(Segment::Attach(Must(writer.Share(Access::kReadOnly)), kBytes, Access::kReadOnly));
  std::memcpy(writer.data() + 4096, "hello", 5);
  EXPECT_EQ(std::memcmp(reader.data() + 4096, "hello", 5), 0);
  EXPECT_NE(reader.data(), writer.data());
}

TEST(Segment, ReadOnlyShareCannotBeMappedWritable) {
  const Segment segment = MakeSegment();
  const UniqueFd share = Must(segment.Share(Access::kReadOnly));
  EXPECT_EQ(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, share.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(::write(share.get(), "x", 1), -1);
  EXPECT_FALSE(Segment::Attach(Must(segment.Share(Access::kReadOnly)), kBytes, Access::kReadWrite).ok());
}

TEST(Segment, ReadOnlyMappingCannotBeMadeWritable) {
  const Segment segment = MakeSegment();
  const Segment reader =
      Must(Segment::Attach(Must(segment.Share(Access::kReadOnly)), kBytes, Access::kReadOnly));
  EXPECT_EQ(::mprotect(reader.data(), kBytes, PROT_READ | PROT_WRITE), -1);
}

TEST(Segment, ReadWriteShareCanBeMappedWritable) {
  const Segment segment = Must(Segment::Create("test", kBytes, Access::kReadOnly));
  const Segment writer =
      Must(Segment::Attach(Must(segment.Share(Access::kReadWrite)), kBytes, Access::kReadWrite));
  writer.data()[0] = std::byte{42};
  EXPECT_EQ(segment.data()[0], std::byte{42});
}

TEST(Segment, NobodyCanChangeItsSizeOrItsSeals) {
  const Segment segment = MakeSegment();
  const UniqueFd share = Must(segment.Share(Access::kReadWrite));
  EXPECT_EQ(::ftruncate(share.get(), 4096), -1) << "would turn our next read into SIGBUS";
  EXPECT_EQ(::ftruncate(share.get(), 4 * kBytes), -1);
  EXPECT_EQ(::fcntl(share.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  EXPECT_EQ(::fcntl(share.get(), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

TEST(Segment, EveryPageIsReservedWhenItIsMade) {
  const Segment segment = MakeSegment();
  const UniqueFd share = Must(segment.Share(Access::kReadOnly));
  struct stat status {};
  ASSERT_EQ(::fstat(share.get(), &status), 0);
  EXPECT_GE(static_cast<size_t>(status.st_blocks) * 512, kBytes);
}

TEST(Segment, AttachRefusesAnotherSize) {
  const Segment segment = MakeSegment();
  for (size_t bytes : {size_t{4096}, size_t{12288}, size_t{0}}) {
    const auto attached = Segment::Attach(Must(segment.Share(Access::kReadOnly)), bytes, Access::kReadOnly);
    EXPECT_TRUE(absl::IsInvalidArgument(attached.status())) << attached.status();
  }
}

TEST(Segment, AttachRefusesWhatItsMakerCouldShrink) {
  for (int seals : {0, F_SEAL_GROW}) {
    const auto attached = Segment::Attach(MakeUnsealed(kBytes, seals), kBytes, Access::kReadOnly);
    EXPECT_TRUE(absl::IsInvalidArgument(attached.status())) << attached.status();
  }
  EXPECT_TRUE(Segment::Attach(MakeUnsealed(kBytes, F_SEAL_SHRINK), kBytes, Access::kReadOnly).ok());
}

TEST(Segment, AttachRefusesWhatIsNoSharedMemory) {
  EXPECT_FALSE(Segment::Attach(UniqueFd(), kBytes, Access::kReadOnly).ok());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd write_end(ends[1]);
  EXPECT_FALSE(Segment::Attach(UniqueFd(ends[0]), 0, Access::kReadOnly).ok());
}

TEST(Segment, MovedFromSegmentHoldsNothing) {
  Segment first = MakeSegment();
  std::byte* const data = first.data();
  const Segment second = std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.size(), 0u);  // NOLINT(bugprone-use-after-move): that is the question
}

TEST(UniqueFd, ClosesItselfOnceAndOnlyOnce) {
  int raw;
  {
    UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
    raw = fd.get();
    UniqueFd moved(std::move(fd));
    EXPECT_FALSE(fd);  // NOLINT(bugprone-use-after-move): that is the question
    EXPECT_EQ(::fcntl(raw, F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

}  // namespace
}  // namespace zerohop

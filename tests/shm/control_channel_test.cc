#include "shm/control_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/must.h"

namespace zerohop {
namespace {

struct Channel {
  Channel() {
    auto ends = Must(ControlChannel::MakePair());
    ours = std::move(ends.first);
    theirs = std::move(ends.second);
  }
  ControlChannel ours, theirs;
};

TEST(ControlChannel, MessagesArriveInOrderAndWhole) {
  Channel channel;
  ASSERT_TRUE(channel.ours.Send(Hello{1, 42}).ok());
  ASSERT_TRUE(channel.ours.Send(Drain{}).ok());
  EXPECT_EQ(std::get<Hello>(Must(channel.theirs.Receive(true)).message).pid, 42);
  EXPECT_TRUE(std::holds_alternative<Drain>(Must(channel.theirs.Receive(true)).message));
  EXPECT_TRUE(absl::IsDeadlineExceeded(channel.theirs.Receive(false).status())) << "nothing is left";
}

TEST(ControlChannel, DescriptorsArriveAsTheReceiversOwn) {
  Channel channel;
  const Segment segment = Must(Segment::Create("passed", 4096, Access::kReadWrite));
  {
    const UniqueFd first = Must(segment.Share(Access::kReadOnly));
    const UniqueFd second = Must(segment.Share(Access::kReadWrite));
    ASSERT_TRUE(channel.ours.Send(Offer{}, {first.get(), second.get()}).ok());
  }
  ControlPacket packet = Must(channel.theirs.Receive(true));
  ASSERT_EQ(packet.fds.size(), 2u);
  EXPECT_EQ(::fcntl(packet.fds[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC)
      << "no other child may inherit it";
  segment.data()[7] = std::byte{9};
  const Segment reader = Must(Segment::Attach(std::move(packet.fds[0]), 4096, Access::kReadOnly));
  EXPECT_EQ(reader.data()[7], std::byte{9});
  EXPECT_EQ(::fcntl(packet.fds[1].get(), F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST(ControlChannel, EndOfFileIsUnavailable) {
  Channel channel;
  ASSERT_TRUE(channel.theirs.Send(Drain{}).ok());
  channel.theirs.Close();
  EXPECT_TRUE(channel.ours.Receive(true).ok()) << "what was sent before counts";
  EXPECT_TRUE(absl::IsUnavailable(channel.ours.Receive(true).status()));
  EXPECT_TRUE(absl::IsUnavailable(channel.ours.Receive(false).status()));
  EXPECT_TRUE(absl::IsUnavailable(channel.ours.Send(Drain{}))) << "and no SIGPIPE";
}

TEST(ControlChannel, PeerThatDoesNotReadNeverBlocksTheSender) {
  Channel channel;
  absl::Status status;
  for (int i = 0; i < 1'000'000 && status.ok(); ++i) status = channel.ours.Send(Drain{});
  EXPECT_TRUE(absl::IsUnavailable(status));
}

TEST(ControlChannel, GarbageIsInvalidAndLeavesTheChannelUsable) {
  Channel channel;
  ASSERT_EQ(::send(channel.theirs.fd(), "\xff\x00{", 3, 0), 3);
  EXPECT_TRUE(absl::IsInvalidArgument(channel.ours.Receive(true).status()));
  const std::string huge(64 << 10, 'x');
  ASSERT_GT(::send(channel.theirs.fd(), huge.data(), huge.size(), 0), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(channel.ours.Receive(true).status()));
  ASSERT_TRUE(channel.theirs.Send(Hello{1, 2}).ok());
  EXPECT_TRUE(channel.ours.Receive(true).ok());
}

TEST(ControlChannel, DescriptorsOfABadMessageDoNotLeak) {
  Channel channel;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  UniqueFd read_end(pipe_ends[0]), write_end(pipe_ends[1]);
  char bytes[] = "not a message";
  iovec piece{bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = write_end.get();
  std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  ASSERT_GT(::sendmsg(channel.theirs.fd(), &header, 0), 0);
  write_end.Reset();
  EXPECT_TRUE(absl::IsInvalidArgument(channel.ours.Receive(true).status()));
  char byte;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 0) << "the last writer, the received descriptor, is closed";
}

}  // namespace
}  // namespace zerohop

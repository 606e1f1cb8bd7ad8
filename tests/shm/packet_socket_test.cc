// What ControlChannel's tests do not show of its socket: they cover order, descriptors and garbage.

#include "shm/packet_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "shm/consumer/consumer_message.h"
#include "shm/local_door.h"
#include "tests/support/must.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

struct Pair {
  Pair() { std::tie(ours, theirs) = Must(PacketSocket::MakePair()); }
  PacketSocket ours, theirs;
};

class Folder {
 public:
  Folder() {
    if (::mkdtemp(name_) == nullptr) throw std::runtime_error("no temporary folder");
  }
  ~Folder() { std::filesystem::remove_all(name_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string Path(const char* file) const { return std::string(name_) + "/" + file; }

 private:
  char name_[26] = "/tmp/packet_socket_XXXXXX";
};

// A child that connects, and stays until it is killed.
pid_t ConnectedChild(const std::string& path) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  const auto socket = PacketSocket::Connect(path);
  if (!socket.ok()) ::_exit(1);
  for (;;) ::pause();
}

PacketSocket AcceptOne(LocalDoor* door) {
  pollfd someone{door->fd(), POLLIN, 0};
  if (::poll(&someone, 1, 60'000) != 1) throw std::runtime_error("nobody came");
  return Must(door->Accept());
}

TEST(PacketSocket, TheLargestConsumerMessageFitsAPacket) {
  Pair pair;
  const std::string sent(kMaxConsumerMessageBytes, 'x');
  ASSERT_TRUE(pair.ours.Send(sent, {}, Waiting::kNever).ok());
  EXPECT_EQ(Must(pair.theirs.Receive(kMaxConsumerMessageBytes, Waiting::kNever)).bytes, sent);
}

TEST(PacketSocket, ALongerPacketIsSeenAsLongerAndTheNextOneArrives) {
  Pair pair;
  ASSERT_TRUE(pair.ours.Send(std::string(10, 'x'), {}, Waiting::kNever).ok());
  ASSERT_TRUE(pair.ours.Send("next", {}, Waiting::kNever).ok());
  EXPECT_EQ(Must(pair.theirs.Receive(4, Waiting::kNever)).bytes.size(), 5u);
  EXPECT_EQ(Must(pair.theirs.Receive(4, Waiting::kNever)).bytes, "next");
}

TEST(PacketSocket, APeerThatDoesNotReadIsResourceExhausted) {
  Pair pair;
  absl::Status status;
  for (int i = 0; i < 1'000'000 && status.ok(); ++i) status = pair.ours.Send("x", {}, Waiting::kNever);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  ASSERT_TRUE(pair.theirs.Receive(1, Waiting::kNever).ok());
  EXPECT_TRUE(pair.ours.Send("x", {}, Waiting::kUntilDone).ok()) << "it reads again";
}

TEST(PacketSocket, APeerThatIsGoneIsUnavailable) {
  Pair pair;
  ASSERT_TRUE(pair.theirs.Send("last", {}, Waiting::kNever).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(pair.theirs.Receive(9, Waiting::kNever).status()))
      << "not gone: silent";
  pair.theirs.Close();
  EXPECT_EQ(Must(pair.ours.Receive(9, Waiting::kUntilDone)).bytes, "last");
  EXPECT_TRUE(absl::IsUnavailable(pair.ours.Receive(9, Waiting::kUntilDone).status()));
  EXPECT_TRUE(absl::IsUnavailable(pair.ours.Receive(9, Waiting::kNever).status()));
  EXPECT_TRUE(absl::IsUnavailable(pair.ours.Send("x", {}, Waiting::kUntilDone))) << "and no SIGPIPE";
}

TEST(PacketSocket, ShutdownEndsWhatEitherSideWaitsFor) {
  Pair pair;
  std::thread reader(
      [&] { EXPECT_TRUE(absl::IsUnavailable(pair.ours.Receive(9, Waiting::kUntilDone).status())); });
  pair.ours.Shutdown();
  reader.join();
  EXPECT_TRUE(absl::IsUnavailable(pair.theirs.Receive(9, Waiting::kUntilDone).status()));
  EXPECT_GE(pair.ours.fd(), 0);
}

TEST(PacketSocket, APeerIsTheProcessThatConnected) {
  const Folder folder;
  LocalDoor door = Must(LocalDoor::Open(folder.Path("door")));
  const pid_t child = ConnectedChild(folder.Path("door"));
  const PacketSocket socket = AcceptOne(&door);
  const PeerProcess peer = Must(socket.Peer());
  EXPECT_EQ(peer.pid, child);
  pollfd gone{peer.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&gone, 1, 0), 0);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::poll(&gone, 1, 60'000), 1) << "its pidfd says that it has ended";
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(absl::IsUnavailable(socket.Receive(1, Waiting::kUntilDone).status()));
}

TEST(PacketSocket, APeerThatHasEndedIsUnavailable) {
  const Folder folder;
  LocalDoor door = Must(LocalDoor::Open(folder.Path("door")));
  const pid_t child = ConnectedChild(folder.Path("door"));
  const PacketSocket socket = AcceptOne(&door);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(absl::IsUnavailable(socket.Peer().status()));
}

TEST(PacketSocket, ConnectSaysWhetherABrokerMayComeYet) {
  const Folder folder;
  const absl::Status nobody = PacketSocket::Connect(folder.Path("door")).status();
  EXPECT_TRUE(absl::IsUnavailable(nobody));
  EXPECT_THAT(std::string(nobody.message()), HasSubstr(folder.Path("door")));
  EXPECT_TRUE(absl::IsInvalidArgument(PacketSocket::Connect("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(PacketSocket::Connect(std::string(200, 'x')).status()));
  EXPECT_FALSE(PacketSocket::Connect("/dev/null").ok());
}

}  // namespace
}  // namespace zerohop

// One consumer at the desk, of which the test plays the process and the clock: who has let go of its arena
// and said so is heard, whatever befell its connection. On the emulated driver.

#include "broker/consumers/consumer.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/fake_cuda/test_namespace.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;

const fake_cuda::TestNamespace kNamespace;
const Clock::time_point kStart = Clock::time_point(std::chrono::hours(1));

class ConsumerTest : public testing::Test {
 protected:
  ~ConsumerTest() override { consumer.reset(); }

  static PeerProcess Ourselves() {
    return {::getpid(), UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)))};
  }
  void Connect() {
    auto [ours, its] = Must(PacketSocket::MakePair());
    process = std::move(its);
    consumer = std::make_unique<Consumer>(1, std::move(ours), Ourselves(), around, kStart);
  }
  void ConnectAndOpen() {
    Connect();
    Say(ConsumerHello{kConsumerProtocol, device->uuid()});
    Hear();
    arena_bytes = std::get<ConsumerOffer>(Answer()).arena.bytes;
    ASSERT_EQ(arena_bytes, around.arena_bytes);
  }
  void Say(const ConsumerMessage& message) {
    ASSERT_TRUE(process.Send(EncodeConsumerMessage(message), {}, Waiting::kNever).ok());
  }
  // Of what it was told, the next.
  ConsumerMessage Answer() {
    return Must(
        DecodeConsumerMessage(Must(process.Receive(kMaxConsumerMessageBytes, Waiting::kNever)).bytes));
  }
  void Hear() {
    consumer->Hear([](const Consumer&) { return nullptr; });
  }
  // As many turns as the desk needs for what lies in its socket.
  void HearAll() {
    while (!consumer->left() && IsReadable()) Hear();
  }
  // Heard to its end, it leaves an arena for the next connection of its process.
  void HangUpAndFindTheArena() {
    process.Close();
    HearAll();
    EXPECT_TRUE(consumer->left());
    EXPECT_NE(consumer->TakeArena(), nullptr);
  }
  bool IsReadable() const {
    pollfd socket{consumer->socket_fd(), POLLIN, 0};
    return ::poll(&socket, 1, 0) == 1;
  }
  // Of the request under way, its rows in the arena.
  RequestEnd WaitForEnd() {
    house.Settle();
    pollfd mailbox{around.mailbox->fd(), POLLIN, 0};
    (void)::poll(&mailbox, 1, -1);
    return around.mailbox->TakeAll().at(0);
  }

  std::shared_ptr<const CudaDevice> device = Must(CudaDevice::Open("0"));
  DeviceReturn home{device, std::chrono::hours(1)};
  RouterHouse house;
  std::unique_ptr<CopyEngine> copies = Must(CopyEngine::Create(home, house.bell().ringer()));
  ConsumerSurroundings around{house.router(), *copies, home, 2 << 20, std::make_shared<Mailbox>()};
  PacketSocket process;
  std::unique_ptr<Consumer> consumer;
  uint64_t arena_bytes = 0;
};

TEST_F(ConsumerTest, WhatItSaidBeforeItHungUpIsHeardThoughAnAnswerCouldNotBeSent) {
  ConnectAndOpen();
  Say(EmbedTexts{1, {"no replica serves"}});  // is refused at once, to nobody
  Say(ArenaClosed{});
  HangUpAndFindTheArena();
  EXPECT_EQ(around.let_go, 0u) << "it broke no rule";
}

TEST_F(ConsumerTest, AnArenaThatCouldNotBeOfferedIsNobodys) {
  Connect();
  Say(ConsumerHello{kConsumerProtocol, device->uuid()});
  HangUpAndFindTheArena();
}

TEST_F(ConsumerTest, ItIsHeardThoughItHungUpBeforeItReadAnAnswer) {
  Connect();
  Say(ConsumerHello{kConsumerProtocol, device->uuid()});
  Hear();
  Say(ArenaClosed{});
  HangUpAndFindTheArena();
  EXPECT_EQ(around.let_go, 0u) << "it broke no rule";
}

TEST_F(ConsumerTest, ItIsHeardThoughItHungUpBeforeItsRowsCouldBeLeased) {
  house.Serve(0);
  ConnectAndOpen();
  Say(EmbedTexts{1, {"a text"}});
  Hear();
  Say(ArenaClosed{});
  process.Close();
  consumer->OnEnd(WaitForEnd());
  EXPECT_FALSE(consumer->HasRequests());
  HearAll();
  EXPECT_TRUE(consumer->left());
  EXPECT_FALSE(consumer->MayHaveArenaOpen());
}

TEST_F(ConsumerTest, AServerThatLeavesHearsThatItLetGoThoughAnAnswerCameTooLate) {
  house.Serve(0);
  ConnectAndOpen();
  Say(EmbedTexts{1, {"a text"}});
  Hear();
  consumer->BeginLeaving();
  consumer->OnEnd(WaitForEnd());
  EXPECT_FALSE(consumer->HasRequests()) << "whose end would be waited for";
  EXPECT_FALSE(consumer->left()) << "before it could say anything";
  Say(ArenaClosed{});
  HearAll();
  EXPECT_FALSE(consumer->MayHaveArenaOpen());
}

TEST_F(ConsumerTest, OneWhoReadsNoMoreButTalksOnGetsNothingMoreAndHoldsUpNobody) {
  ConnectAndOpen();
  ::shutdown(process.fd(), SHUT_RD);  // it says that it will not read
  Say(EmbedTexts{1, {"no replica serves"}});
  for (int i = 0; i < 100; ++i) Say(EmbedTexts{2, {"nobody waits for this"}});
  Hear();
  EXPECT_FALSE(consumer->left());
  EXPECT_TRUE(IsReadable()) << "others have their turn before all is heard";
  HearAll();
  EXPECT_EQ(consumer->Status().counts.refused, 1u);
  EXPECT_FALSE(consumer->HasRequests());
  process.Close();
  HearAll();
  EXPECT_TRUE(consumer->left());
  EXPECT_TRUE(consumer->MayHaveArenaOpen()) << "it did not say that it let go";
}

TEST_F(ConsumerTest, OneWhoSaysNothingIsLetGoAfterFiveSeconds) {
  using std::chrono::seconds;
  Connect();
  EXPECT_EQ(consumer->EndOverdue(kStart + seconds(5) - Clock::duration(1)), kStart + seconds(5))
      << "when to look again";
  EXPECT_FALSE(consumer->left());
  EXPECT_EQ(consumer->EndOverdue(kStart + seconds(5)), Clock::time_point::max());
  EXPECT_TRUE(consumer->left());
  EXPECT_FALSE(consumer->TakesAPlace());
  EXPECT_EQ(around.let_go, 1u);
  EXPECT_TRUE(absl::IsUnavailable(process.Receive(1, Waiting::kNever).status())) << "it is hung up on";
}

TEST_F(ConsumerTest, OneWhoSaidHelloMayBeSilentForEver) {
  ConnectAndOpen();
  EXPECT_EQ(consumer->EndOverdue(kStart + std::chrono::hours(1000)), Clock::time_point::max());
  EXPECT_FALSE(consumer->left());
}

}  // namespace
}  // namespace zerohop

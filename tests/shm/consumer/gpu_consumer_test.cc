// GpuConsumer against a broker that the test plays, on the emulated driver. The arena is another process's,
// as it is in life: the driver does not let a process open its own.

#include "shm/consumer/gpu_consumer.h"

#include <gmock/gmock.h>
#include <poll.h>

#include <filesystem>
#include <future>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "shm/local_door.h"
#include "shm/row.h"
#include "tests/fake_cuda/emulator_house.h"
#include "tests/support/must.h"

namespace zerohop {
namespace {

using fake_cuda::kArenaBytes;
using testing::HasSubstr;
using Texts = std::vector<std::string>;
using Lease = absl::StatusOr<RowLease>;

constexpr uint64_t kProof = 0x0707070707070707;
constexpr uint32_t kDim = 4;

std::string Sentence(const absl::Status& status) {
  return std::string(status.message());
}

// The broker's end of one connection.
class Peer {
 public:
  explicit Peer(PacketSocket socket) : socket_(std::move(socket)) {}

  // Hangs up where it hears anything else, so that nobody waits for an answer.
  template <typename T>
  T Hear() {
    const auto packet = socket_.Receive(kMaxConsumerMessageBytes, Waiting::kUntilDone);
    const auto message = packet.ok() ? DecodeConsumerMessage(packet->bytes) : packet.status();
    if (message.ok() && std::holds_alternative<T>(*message)) return std::get<T>(*message);
    HangUp();
    throw std::runtime_error(message.ok() ? "another message: " + packet->bytes : Sentence(message.status()));
  }
  bool HearsNothingYet() {
    return absl::IsDeadlineExceeded(socket_.Receive(kMaxConsumerMessageBytes, Waiting::kNever).status());
  }
  bool HearsTheEnd() {
    return absl::IsUnavailable(socket_.Receive(kMaxConsumerMessageBytes, Waiting::kUntilDone).status());
  }
  void Say(const ConsumerMessage& message) { SayBytes(EncodeConsumerMessage(message)); }
  void SayBytes(const std::string& bytes) { ASSERT_TRUE(socket_.Send(bytes, {}, Waiting::kUntilDone).ok()); }
  void HangUp() { socket_.Close(); }

 private:
  PacketSocket socket_;
};

class GpuConsumerTest : public testing::Test {
 protected:
  GpuConsumerTest() {
    exporter.Do("alloc " + std::to_string(kArenaBytes));
    exporter.Do("fill 0 0 7 8");
    arena.device = Must(CudaDevice::Open("0"))->uuid();
    const std::string ipc = absl::HexStringToBytes(exporter.Do("export 0"));
    std::memcpy(&arena.ipc, ipc.data(), sizeof arena.ipc);
    arena.bytes = kArenaBytes;
    arena.proof = kProof;
  }
  ~GpuConsumerTest() override { std::filesystem::remove_all(folder); }

  static auto Begin(const std::shared_ptr<GpuConsumer>& consumer, Texts texts) {
    return std::async(std::launch::async, [consumer, texts] { return consumer->Embed(texts); });
  }
  auto BeginConnect() {
    return std::async(std::launch::async, [this] { return GpuConsumer::Connect(path, "0"); });
  }
  Peer LetIn() {
    pollfd someone{door.fd(), POLLIN, 0};
    if (::poll(&someone, 1, -1) != 1) throw std::runtime_error("nobody came");
    return Peer(Must(door.Accept()));
  }
  // What Connect says to an answer to its hello.
  absl::Status ConnectTo(const std::function<void(Peer&)>& answer) {
    auto connecting = BeginConnect();
    Peer peer = LetIn();
    (void)peer.Hear<ConsumerHello>();
    answer(peer);
    return connecting.get().status();
  }
  void Greet() {
    auto connecting = BeginConnect();
    broker.emplace(LetIn());
    EXPECT_EQ(broker->Hear<ConsumerHello>().device, arena.device);
    broker->Say(ConsumerOffer{arena});
    consumer = Must(connecting.get());
  }
  // One text, answered as the broker likes: `rows` with the request's id.
  Lease EmbedOne(RowsLeased rows) {
    auto embedding = Begin(consumer, {"a"});
    rows.id = broker->Hear<EmbedTexts>().id;
    broker->Say(rows);
    return embedding.get();
  }
  // Nobody has been harmed: the next request is answered.
  void CheckWorks() {
    const Lease lease = EmbedOne({0, 99, 512, 1, kDim});
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(lease->offset(), 512u);
  }
  static uint64_t Count(const char* counter) { return fakecu_counter(::getpid(), counter); }

  std::string folder = [] {
    char name[] = "/tmp/gpu_consumer_XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("no temporary folder");
    return std::string(name);
  }();
  const std::string path = folder + "/door";
  const fake_cuda::Device device;
  fake_cuda::EmulatedPeer exporter;
  ArenaHandle arena;
  LocalDoor door = Must(LocalDoor::Open(path));
  std::optional<Peer> broker;
  std::shared_ptr<GpuConsumer> consumer;
};

TEST_F(GpuConsumerTest, ALeaseSaysWhereItsRowsLie) {
  Greet();
  exporter.Do("fill 0 4096 9 " + std::to_string(2 * RowBytes(kDim)));
  auto embedding = Begin(consumer, {"a", std::string("\0\U0001f600", 5)});
  const EmbedTexts embed = broker->Hear<EmbedTexts>();
  EXPECT_THAT(embed.texts, testing::ElementsAre("a", std::string("\0\U0001f600", 5)));
  EXPECT_EQ(embed.timeout_ns, 0);
  broker->Say(RowsLeased{embed.id, 1, 4096, 2, kDim});
  const RowLease lease = Must(embedding.get());
  EXPECT_EQ(lease.rows(), 2u);
  EXPECT_EQ(lease.dim(), kDim);
  EXPECT_EQ(lease.offset(), 4096u);
  EXPECT_EQ(lease.device().uuid(), arena.device);
  EXPECT_EQ(device.ByteAt(lease.address()), 9);
  EXPECT_EQ(device.ByteAt(lease.address() + 2 * RowBytes(kDim) - 1), 9);
}

TEST_F(GpuConsumerTest, TheTimeoutReachesTheBroker) {
  Greet();
  auto embedding = std::async(
      std::launch::async, [&] { return consumer->Embed(Texts{"a"}, std::chrono::seconds(1500)).status(); });
  const EmbedTexts embed = broker->Hear<EmbedTexts>();
  EXPECT_EQ(embed.timeout_ns, 1'500'000'000'000);
  broker->Say(NotEmbedded{embed.id, absl::DeadlineExceededError("too late")});
  EXPECT_EQ(embedding.get(), absl::DeadlineExceededError("too late"));
}

TEST_F(GpuConsumerTest, AServerThatStandsStillIsNotWaitedForBeyondTheTimeout) {
  Greet();
  const absl::Status unanswered = consumer->Embed(Texts{"a"}, std::chrono::milliseconds(1)).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(unanswered)) << unanswered;
  // Nor where it does not even read: requests fill the socket, and then one cannot be sent.
  const Texts large{std::string(100 << 10, 'x')};
  for (absl::Status status = unanswered; !absl::StrContains(status.message(), "does not read");
       status = consumer->Embed(large, std::chrono::milliseconds(1)).status()) {
    ASSERT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  }
}

TEST_F(GpuConsumerTest, RowsThatComeAfterTheTimeoutAreGivenBack) {
  Greet();
  ASSERT_TRUE(absl::IsDeadlineExceeded(consumer->Embed(Texts{"a"}, std::chrono::milliseconds(1)).status()));
  broker->Say(RowsLeased{broker->Hear<EmbedTexts>().id, 7, 512, 1, kDim});
  EXPECT_EQ(broker->Hear<ReturnLease>().lease, 7u);
  CheckWorks();
}

TEST_F(GpuConsumerTest, AServerThatOffersNoArenaIsNotWaitedForBeyondTheTimeout) {
  const absl::Status status = GpuConsumer::Connect(path, "0", std::chrono::milliseconds(1)).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  Peer peer = LetIn();
  (void)peer.Hear<ConsumerHello>();
  (void)peer.Hear<ArenaClosed>();  // so that the next attempt finds the arena which this one did not wait for
  EXPECT_TRUE(peer.HearsTheEnd());
}

TEST_F(GpuConsumerTest, ALeaseIsGivenBackOnceAlsoAfterAMove) {
  Greet();
  {
    RowLease first = Must(EmbedOne({0, 7, 512, 1, kDim}));
    std::optional<RowLease> second(std::move(first));
    const RowLease third(*std::move(second));
    second.reset();
    EXPECT_TRUE(broker->HearsNothingYet());
  }
  EXPECT_EQ(broker->Hear<ReturnLease>().lease, 7u);
  EXPECT_TRUE(broker->HearsNothingYet());
}

TEST_F(GpuConsumerTest, ALeaseKeepsTheArenaOpenAndTheLastOneClosesIt) {
  const uint64_t before = Count("closes");
  Greet();
  std::optional<RowLease> lease(Must(EmbedOne({0, 7, 512, 1, kDim})));
  consumer.reset();
  EXPECT_TRUE(broker->HearsNothingYet());
  EXPECT_EQ(Count("closes"), before);
  (void)device.ByteAt(lease->address());
  // To close it takes a while, in which a consumer that said it too early would be caught.
  ASSERT_EQ(fakecu_set_faults(::getpid(), "cuIpcCloseMemHandle:delay_us=100000"), cuda::CUDA_SUCCESS);
  auto leaving = std::async(std::launch::async, [&] { lease.reset(); });
  EXPECT_EQ(broker->Hear<ReturnLease>().lease, 7u);
  (void)broker->Hear<ArenaClosed>();
  EXPECT_EQ(Count("closes"), before + 1) << "it says so after it is true";
  ASSERT_EQ(fakecu_set_faults(::getpid(), ""), cuda::CUDA_SUCCESS);
  EXPECT_TRUE(broker->HearsTheEnd());
}

TEST_F(GpuConsumerTest, AnswersInAnyOrderReachTheirThreads) {
  Greet();
  std::vector<std::future<Lease>> threads;
  for (int i = 0; i < 16; ++i) threads.push_back(Begin(consumer, {std::to_string(i)}));
  std::map<uint64_t, uint64_t> offsets;  // by id
  for (size_t i = 0; i < threads.size(); ++i) {
    const EmbedTexts embed = broker->Hear<EmbedTexts>();
    EXPECT_TRUE(offsets.emplace(embed.id, 512 * std::stoul(embed.texts.at(0))).second) << "an id of its own";
  }
  for (auto request = offsets.rbegin(); request != offsets.rend(); ++request)
    broker->Say(RowsLeased{request->first, request->first, request->second, 1, kDim});
  for (size_t i = 0; i < threads.size(); ++i) EXPECT_EQ(Must(threads[i].get()).offset(), 512 * i);
}

TEST_F(GpuConsumerTest, WhatCannotBeEmbeddedIsSaidAndNotSent) {
  Greet();
  const auto refusal = [&](Texts texts) {
    const absl::Status status = consumer->Embed(texts).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return Sentence(status);
  };
  EXPECT_THAT(refusal({}), HasSubstr("at least one"));
  EXPECT_THAT(refusal({"a", "\xff"}), HasSubstr("text 1 is not UTF-8"));
  EXPECT_THAT(refusal({std::string(kMaxConsumerMessageBytes, 'x')}), HasSubstr("in parts"));
  EXPECT_THAT(refusal({std::string(kMaxConsumerMessageBytes / 6, '\0')}), HasSubstr("in parts"));
  for (const auto late : {std::chrono::nanoseconds(0), std::chrono::nanoseconds::min()})
    EXPECT_TRUE(absl::IsDeadlineExceeded(consumer->Embed(Texts{"a"}, late).status()));
  EXPECT_TRUE(broker->HearsNothingYet());
  CheckWorks();
}

TEST_F(GpuConsumerTest, AFailureArrivesAsTheBrokerSaidIt) {
  Greet();
  for (const absl::Status& why : {absl::ResourceExhaustedError("leases fill the arena"),
                                  absl::UnavailableError("the device is lost"), absl::InternalError("!")}) {
    auto embedding = Begin(consumer, {"a"});
    broker->Say(NotEmbedded{broker->Hear<EmbedTexts>().id, why});
    EXPECT_EQ(embedding.get().status(), why);
  }
  CheckWorks();
}

TEST_F(GpuConsumerTest, RowsThatCannotBeThereAreRefused) {
  Greet();
  const uint64_t row = RowBytes(kDim);
  for (const RowsLeased& lie : std::vector<RowsLeased>{{0, 1, kArenaBytes, 1, kDim},
                                                       {0, 1, kArenaBytes - row + 4, 1, kDim},
                                                       {0, 1, ~uint64_t{3}, 1, kDim},
                                                       {0, 1, 4096, ~uint64_t{0} / row + 2, kDim},
                                                       {0, 1, 0, 5, kMaxDim},
                                                       {0, 1, 4098, 1, kDim}}) {
    const absl::Status status = EmbedOne(lie).status();
    EXPECT_TRUE(absl::IsInternal(status)) << lie.offset << " " << lie.rows << " " << lie.dim << " " << status;
    EXPECT_THAT(Sentence(status), HasSubstr("rows outside of the arena"));
  }
}

TEST_F(GpuConsumerTest, AnotherNumberOfRowsThanOfTextsIsRefusedAndGivenBack) {
  Greet();
  for (const uint64_t rows : {0, 2}) {
    const absl::Status status = EmbedOne({0, 40 + rows, 4096, rows, kDim}).status();
    EXPECT_TRUE(absl::IsInternal(status)) << status;
    EXPECT_THAT(Sentence(status), HasSubstr("rows for 1 texts"));
    EXPECT_EQ(broker->Hear<ReturnLease>().lease, 40 + rows);
  }
}

TEST_F(GpuConsumerTest, TheLastRowsOfTheArenaAreInIt) {
  Greet();
  const Lease lease = EmbedOne({0, 1, kArenaBytes - RowBytes(kDim), 1, kDim});
  ASSERT_TRUE(lease.ok()) << lease.status();
  (void)device.ByteAt(lease->address() + RowBytes(kDim) - 1);
}

TEST_F(GpuConsumerTest, AnswersThatNobodyWaitsForHarmNobodyAndTheirRowsAreGivenBack) {
  Greet();
  broker->Say(RowsLeased{4711, 3, 512, 1, kDim});
  broker->Say(NotEmbedded{4711, absl::InternalError("nobody's")});
  EXPECT_EQ(broker->Hear<ReturnLease>().lease, 3u);
  auto embedding = Begin(consumer, {"a"});
  const uint64_t id = broker->Hear<EmbedTexts>().id;
  broker->Say(RowsLeased{id, 1, 1024, 1, kDim});
  broker->Say(RowsLeased{id, 2, 2048, 1, kDim});
  broker->Say(NotEmbedded{id, absl::InternalError("after all not")});
  {
    const RowLease lease = Must(embedding.get());
    EXPECT_EQ(lease.offset(), 1024u);
    EXPECT_EQ(broker->Hear<ReturnLease>().lease, 2u) << "its request had been answered";
  }
  EXPECT_EQ(broker->Hear<ReturnLease>().lease, 1u);
  CheckWorks();
}

TEST_F(GpuConsumerTest, GarbageEndsEveryEmbedWithOneSentence) {
  const std::vector<std::pair<std::string, const char*>> lies = {
      {"garbage", "bad message"},
      {R"({"type":"leased","id":1})", "bad message"},
      {std::string(kMaxConsumerMessageBytes + 1, ' '), "message of more than"},
      {EncodeConsumerMessage(ConsumerHello{}), "only a consumer sends"},
      {EncodeConsumerMessage(EmbedTexts{1, {"a"}, 0}), "only a consumer sends"},
  };
  for (const auto& [bytes, reason] : lies) {
    Greet();
    std::vector<std::future<Lease>> waiting;
    for (int i = 0; i < 3; ++i) waiting.push_back(Begin(consumer, {"a"}));
    for (int i = 0; i < 3; ++i) (void)broker->Hear<EmbedTexts>();
    broker->SayBytes(bytes);
    for (auto& embedding : waiting) {
      const absl::Status status = embedding.get().status();
      EXPECT_TRUE(absl::IsInternal(status)) << status;
      EXPECT_THAT(Sentence(status), HasSubstr(reason));
    }
    EXPECT_TRUE(absl::IsInternal(consumer->Embed(Texts{"b"}).status())) << "and every later one";
  }
}

TEST_F(GpuConsumerTest, ABrokerThatHangsUpEndsEveryEmbedAndLeavesWhatIsLeased) {
  const uint64_t before = Count("closes");
  Greet();
  std::optional<RowLease> lease(Must(EmbedOne({0, 7, 512, 1, kDim})));
  std::vector<std::future<Lease>> waiting;
  for (int i = 0; i < 8; ++i) waiting.push_back(Begin(consumer, {"a"}));
  for (int i = 0; i < 4; ++i) (void)broker->Hear<EmbedTexts>();  // the others' are unread, or not sent yet
  broker->HangUp();
  for (auto& embedding : waiting) {
    const absl::Status status = embedding.get().status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(Sentence(status), HasSubstr("the server is gone"));
  }
  EXPECT_TRUE(absl::IsUnavailable(consumer->Embed(Texts{"b"}).status()));
  (void)device.ByteAt(lease->address());
  EXPECT_EQ(Count("closes"), before);
  lease.reset();
  EXPECT_EQ(Count("closes"), before + 1) << "with the last lease, the consumer notwithstanding";
}

TEST_F(GpuConsumerTest, ConnectSaysWhyItCannot) {
  EXPECT_EQ(ConnectTo([](Peer& peer) { peer.Say(ConsumerRefused{"uses another device"}); }),
            absl::FailedPreconditionError("uses another device"));
  EXPECT_TRUE(absl::IsUnavailable(ConnectTo([](Peer& peer) { peer.HangUp(); })));
  const absl::Status other = ConnectTo([](Peer& peer) { peer.Say(ArenaClosed{}); });
  EXPECT_THAT(Sentence(other), HasSubstr("expected an offer"));
  const absl::Status garbage = ConnectTo([](Peer& peer) { peer.SayBytes("SSH-2.0"); });
  EXPECT_TRUE(absl::IsInternal(garbage)) << garbage;
  EXPECT_THAT(Sentence(garbage), HasSubstr("bad message"));

  const absl::Status nobody = GpuConsumer::Connect(path + "2", "0").status();
  EXPECT_TRUE(absl::IsUnavailable(nobody)) << nobody;
  EXPECT_THAT(Sentence(GpuConsumer::Connect(path, "7").status()), HasSubstr("no device 7"));
}

TEST_F(GpuConsumerTest, AnArenaThatIsNotTheOneOfTheOfferIsRefused) {
  const auto refusal = [&](const ArenaHandle& offered) {
    const uint64_t opens = Count("mappings");
    const uint64_t closes = Count("closes");
    const absl::Status status = ConnectTo([&](Peer& peer) { peer.Say(ConsumerOffer{offered}); });
    EXPECT_EQ(Count("mappings") - opens, Count("closes") - closes) << "nothing stays open";
    return Sentence(status);
  };
  ArenaHandle elsewhere = arena;
  elsewhere.device = "GPU-0";
  EXPECT_THAT(refusal(elsewhere), HasSubstr("device GPU-0"));
  ArenaHandle another = arena;
  another.proof = ~kProof;
  EXPECT_THAT(refusal(another), HasSubstr("another proof"));
  ArenaHandle larger = arena;
  larger.bytes = 2 * kArenaBytes;
  EXPECT_THAT(refusal(larger), HasSubstr("expected " + std::to_string(2 * kArenaBytes)));
  ArenaHandle broken = arena;
  std::memset(&broken.ipc, 0, sizeof broken.ipc);
  EXPECT_THAT(refusal(broken), HasSubstr("open the device arena"));
  Greet();
  CheckWorks();
}

}  // namespace
}  // namespace zerohop

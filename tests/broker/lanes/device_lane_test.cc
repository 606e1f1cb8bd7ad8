// Lanes whose rows lie on a device: the broker's books while rows are on their way, and the copy engine that
// brings them. On the emulated driver, where the test plays the replica.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "broker/lanes/copy_engine.h"
#include "broker/lanes/lane_port.h"
#include "tests/fake_cuda/test_namespace.h"
#include "tests/support/fake_replica.h"
#include "tests/support/new_shard.h"

namespace zerohop {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr uint32_t kDim = 128;  // one row fills the least that the allocator gives
constexpr char kNeverDone[] = "cuStreamQuery:err=600";
const fake_cuda::TestNamespace kNamespace;

class DeviceLaneTest : public testing::Test {
 protected:
  explicit DeviceLaneTest(std::chrono::nanoseconds deadline = std::chrono::hours(1))
      : home(device, deadline) {
    lane->SetDevice(std::make_shared<const LaneDevice>(
        Must(LaneDevice::Create(device, lane->geometry().response_arena_bytes))));
    lane->TakeDevice();
    copies = Must(CopyEngine::Create(home, bell.ringer()));
    EngineInfo info;
    info.dim = kDim;
    port = std::make_shared<LanePort>(lane, bell.ringer(), info, Credit{100}, kAnyCpu, copies.get());
    replica = std::make_unique<FakeReplica>(*lane, bell);
  }
  ~DeviceLaneTest() override {
    Break("");
    // Of a device that was lost nothing is given back: its host memory stays registered, and must not be
    // mapped anew for the next test of this process.
    static auto& kept = *new std::vector<std::pair<std::shared_ptr<BrokerLane>, Segment>>;
    if (home.lost()) kept.emplace_back(std::move(lane), std::move(staging));
  }

  static void Break(const char* faults) {
    ASSERT_EQ(fakecu_set_faults(::getpid(), faults), cuda::CUDA_SUCCESS);
  }
  static uint64_t Count(const char* counter) { return fakecu_counter(::getpid(), counter); }

  ShardRef PostNew(const std::string& prompt) {
    const ShardRef shard =
        NewShard(*calls.emplace_back(std::make_unique<TestCall>(std::vector<std::string>{prompt})));
    EXPECT_EQ(port->Post(shard, false), PostResult::kPosted);
    return shard;
  }
  void PostForConsumer(const std::string& prompt) {
    const ShardRef shard =
        NewShard(*calls.emplace_back(std::make_unique<TestCall>(std::vector<std::string>{prompt})));
    shard->stays_on_device = true;
    EXPECT_EQ(port->Post(shard, false), PostResult::kPosted);
  }
  // The replica's part: the row on the device, whole, then the completion.
  void Answer(const Submission& submission) {
    const std::string rows = KnownRows(replica->Prompts(submission), kDim);
    std::memcpy(staging.data(), rows.data(), rows.size());
    const CudaDriver& driver = device->driver();
    ASSERT_TRUE(device->Enter().ok());
    ASSERT_EQ(driver.cuMemcpyHtoDAsync_v2(lane->device()->on_device(submission.response_offset),
                                          staging.data(), rows.size(), stream.get()),
              cuda::CUDA_SUCCESS);
    ASSERT_EQ(driver.cuStreamSynchronize(stream.get()), cuda::CUDA_SUCCESS);
    replica->Publish(CompletionOf(submission, CompletionStatus::kOk));
  }
  void AnswerAll() {
    for (const Submission& submission : replica->TakeAll()) Answer(submission);
  }
  // Until `count` shards are back, or the lane is found broken.
  std::vector<Finished> ReapUntil(size_t count) {
    std::vector<Finished> finished;
    while (port->Reap(&finished) && finished.size() < count) std::this_thread::yield();
    return finished;
  }
  std::vector<Finished> ReapOnce() {
    std::vector<Finished> finished;
    EXPECT_TRUE(port->Reap(&finished)) << port->garbage();
    return finished;
  }
  static std::string Text(const RowBlock& rows) {
    return {reinterpret_cast<const char*>(rows.bytes().data()), rows.bytes().size()};
  }

  std::shared_ptr<const CudaDevice> device = Must(CudaDevice::Open("0"));
  CudaStream stream = Must(CudaStream::Create(device));
  Segment staging = Must(Segment::Create("staging", kPageBytes, Access::kReadWrite));
  RegisteredPages pages = Must(RegisteredPages::Register(device, staging.data(), kPageBytes));
  DeviceReturn home;
  BrokerBell bell = Must(BrokerBell::Create());
  std::shared_ptr<BrokerLane> lane =
      std::make_shared<BrokerLane>(Must(BrokerLane::Create({7, 3, 1}, SmallGeometry())));
  std::unique_ptr<CopyEngine> copies;
  std::vector<std::unique_ptr<TestCall>> calls;
  std::unique_ptr<FakeReplica> replica;
  std::shared_ptr<LanePort> port;
};

TEST_F(DeviceLaneTest, RowsComeToTheHostOnce) {
  const uint64_t before = Count("bytes_dtoh");
  const ShardRef first = PostNew("one");
  PostNew("another");
  AnswerAll();
  const auto finished = ReapUntil(2);
  ASSERT_EQ(finished.size(), 2u) << port->garbage();
  for (const Finished& done : finished) {
    EXPECT_EQ(done.status, CompletionStatus::kOk);
    const std::string prompt = done.shard == first ? "one" : "another";
    EXPECT_EQ(Text(done.rows), KnownRows(std::vector<std::string>{prompt}, kDim));
  }
  EXPECT_EQ(Count("bytes_dtoh") - before, 2 * kDim * sizeof(float));
  EXPECT_EQ(Count("pageable_copies"), 0u);
}

TEST_F(DeviceLaneTest, AReplicaHasItsCreditBackWhileRowsAreOnTheirWay) {
  PostNew("one");
  Break(kNeverDone);
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  EXPECT_EQ(port->tokens_in_flight(), 0u);
  EXPECT_EQ(port->shards_in_flight(), 1u);
  EXPECT_FALSE(port->FindOldest()) << "the replica does not hold it any more";
  Break("");
  EXPECT_EQ(ReapUntil(1).size(), 1u);
  EXPECT_EQ(port->shards_in_flight(), 0u);
}

TEST_F(DeviceLaneTest, ASecondCompletionWhileRowsAreOnTheirWayIsGarbage) {
  PostNew("one");
  Break(kNeverDone);
  const Submission submission = replica->TakeAll().at(0);
  Answer(submission);
  EXPECT_TRUE(ReapOnce().empty());
  replica->Publish(CompletionOf(submission, CompletionStatus::kOk));
  std::vector<Finished> finished;
  EXPECT_FALSE(port->Reap(&finished));
  EXPECT_THAT(port->garbage(), HasSubstr("what was not submitted"));
}

TEST_F(DeviceLaneTest, WhatWasLandingWhenItsReplicaDiedGoesToOthersAndIsNoSuspect) {
  const ShardRef landing = PostNew("complete");
  Break(kNeverDone);
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  const ShardRef begun = PostNew("begun");
  (void)replica->TakeAll();
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);
  ASSERT_EQ(orphans.size(), 2u);
  EXPECT_EQ(orphans[0].shard, landing);
  EXPECT_TRUE(orphans[0].taken && orphans[0].complete);
  EXPECT_EQ(orphans[1].shard, begun);
  EXPECT_TRUE(orphans[1].taken && !orphans[1].complete);
}

TEST_F(DeviceLaneTest, ALaneGoesWhileItsRowsAreOnTheirWayAndItsMemoryStays) {
  PostNew("one");
  Break(kNeverDone);
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  const std::weak_ptr<BrokerLane> gone = lane;
  port.reset();
  replica.reset();
  lane.reset();
  EXPECT_FALSE(gone.expired()) << "the copy still writes to it";
  Break("");
  while (!gone.expired()) std::this_thread::yield();
}

TEST_F(DeviceLaneTest, NeighboursThatWaitAreCopiedAtOnce) {
  const uint64_t before = Count("copies_dtoh");
  Break(kNeverDone);
  PostNew("the first");
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  while (Count("copies_dtoh") == before)
    std::this_thread::yield();  // it is on its way, and holds up the rest
  for (int i = 0; i < 5; ++i) PostNew(std::to_string(i));
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  Break("");
  EXPECT_EQ(ReapUntil(6).size(), 6u);
  EXPECT_EQ(Count("copies_dtoh") - before, 2u);
}

TEST_F(DeviceLaneTest, ADeviceThatFailsBreaksTheLaneAndIsLostForGood) {
  PostNew("one");
  Break("cuMemcpyDtoHAsync:err=700");
  AnswerAll();
  EXPECT_TRUE(ReapUntil(1).empty());
  EXPECT_THAT(port->garbage(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_TRUE(home.lost());
  EXPECT_TRUE(absl::IsUnavailable(home.MakeLaneDevice(64 << 10).status()));
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);
  ASSERT_EQ(orphans.size(), 1u) << "its request is not lost";
  EXPECT_TRUE(orphans[0].complete) << "and no suspect";
}

TEST_F(DeviceLaneTest, WhereTheBrokersDeviceIsTheCauseNoShardIsSuspect) {
  PostNew("one");
  ASSERT_EQ(replica->TakeAll().size(), 1u);
  home.Lose("a test");
  EXPECT_TRUE(ReapUntil(1).empty());
  std::vector<Finished> finished;
  std::vector<Orphan> orphans;
  port->Abandon(&finished, &orphans);
  ASSERT_EQ(orphans.size(), 1u);
  EXPECT_FALSE(orphans[0].taken) << "the replica that had begun with it did nothing wrong";
}

TEST_F(DeviceLaneTest, NothingIsPostedToALaneWhoseDeviceIsLost) {
  EXPECT_TRUE(port->HasCredit());
  home.Lose("a test");
  EXPECT_FALSE(port->HasCredit()) << "though the lane has not been looked at since";
}

TEST_F(DeviceLaneTest, RowsForAConsumerAreGatheredOnTheDeviceAndTheirRegionIsFreeAgain) {
  const auto arena = std::make_shared<const DeviceArena>(Must(DeviceArena::Export(device, 2 << 20)));
  const uint64_t to_host = Count("bytes_dtoh");
  PostForConsumer("one");
  PostForConsumer("another");
  AnswerAll();
  std::vector<Finished> finished = ReapUntil(2);
  ASSERT_EQ(finished.size(), 2u) << port->garbage();
  const std::string rows = KnownRows(std::vector<std::string>{"one", "another"}, kDim);
  RowBlocks blocks;
  for (Finished& done : finished) {
    ASSERT_TRUE(done.rows.on_device());
    blocks.push_back(std::move(done.rows));
  }
  std::promise<void> done;
  copies->Gather({std::move(blocks), arena, 4096, [&] { done.set_value(); }});
  done.get_future().wait();
  EXPECT_EQ(Count("bytes_dtoh"), to_host) << "none of it came to the host";
  ASSERT_EQ(device->driver().cuMemcpyDtoHAsync_v2(staging.data(), arena->at(4096), rows.size(), stream.get()),
            cuda::CUDA_SUCCESS);
  ASSERT_EQ(device->driver().cuStreamSynchronize(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_EQ(std::memcmp(staging.data(), rows.data(), rows.size()), 0);
  // More than the arena holds at once.
  for (int i = 0; i < 1000; ++i) {
    PostForConsumer("again");
    AnswerAll();
    EXPECT_EQ(ReapUntil(1).size(), 1u);
  }
}

TEST_F(DeviceLaneTest, RowsThatWaitForAConsumerDoNotFillTheLane) {
  const uint64_t most = lane->geometry().response_arena_bytes / RowBytes(kDim);
  std::vector<Finished> kept;
  while (kept.size() < 3 * most) {
    PostForConsumer(std::to_string(kept.size()));
    AnswerAll();
    std::vector<Finished> finished = ReapUntil(1);
    ASSERT_EQ(finished.size(), 1u);
    kept.push_back(std::move(finished[0]));
  }
  EXPECT_TRUE(kept.front().rows.on_device());
  EXPECT_FALSE(kept.back().rows.on_device()) << "by way of the host, where they take no room of the lane's";
  EXPECT_EQ(Text(kept.back().rows), KnownRows(std::vector<std::string>{std::to_string(3 * most - 1)}, kDim));
}

TEST_F(DeviceLaneTest, RowsThatFellBackToTheHostReachAConsumerToo) {
  const auto arena = std::make_shared<const DeviceArena>(Must(DeviceArena::Export(device, 2 << 20)));
  auto heap = std::make_unique<std::byte[]>(512);
  std::fill_n(heap.get(), 512, std::byte{7});
  RowBlocks blocks;
  blocks.emplace_back(std::move(heap), 512);
  std::promise<void> done;
  copies->Gather({std::move(blocks), arena, 512, [&] { done.set_value(); }});
  done.get_future().wait();
  ASSERT_EQ(device->driver().cuMemcpyDtoHAsync_v2(staging.data(), arena->at(512), 512, stream.get()),
            cuda::CUDA_SUCCESS);
  ASSERT_EQ(device->driver().cuStreamSynchronize(stream.get()), cuda::CUDA_SUCCESS);
  EXPECT_EQ(staging.data()[511], std::byte{7});
}

// What a lost device was asked for, and what it was not.
class LostCopiesTest : public DeviceLaneTest {
 protected:
  explicit LostCopiesTest(std::chrono::nanoseconds deadline = std::chrono::hours(1))
      : DeviceLaneTest(deadline) {}

  static std::shared_ptr<LaneMemory> MakeHostLane(const BrokerBell& bell) {
    auto made = std::make_shared<BrokerLane>(Must(BrokerLane::Create({8, 1, 2}, SmallGeometry())));
    return std::make_shared<LaneMemory>(std::move(made), bell.ringer());
  }
  // Of rows by host, a block for each offset; nobody is told that they are done.
  void Gather(std::initializer_list<uint64_t> offsets) {
    RowBlocks blocks;
    for (const uint64_t offset : offsets) blocks.emplace_back(by_host, offset, 512);
    copies->Gather({std::move(blocks), arena, 0, [] { ADD_FAILURE() << "told as done"; }});
  }
  // Until a fault has struck one that is gathered.
  void GatherUntilStruck(std::initializer_list<uint64_t> offsets, const char* faults) {
    const uint64_t before = Count("faults");
    Break(faults);
    Gather(offsets);
    while (Count("faults") == before) std::this_thread::yield();
  }
  // One that the device does not end, but looks at, so it was submitted: what comes is not.
  void HoldUp() { GatherUntilStruck({0}, kNeverDone); }
  // Until what waited is given back: what comes then is, too.
  void WaitUntilGivenBack() {
    auto other = MakeHostLane(bell);
    const std::weak_ptr<LaneMemory> gone = other;
    copies->Land({std::move(other), 0, 512, 0});
    while (!gone.expired()) std::this_thread::yield();
  }
  std::vector<uint64_t> Released() {
    std::vector<uint64_t> all;
    for (uint64_t offset; by_host->TakeReleased(&offset);) all.push_back(offset);
    return all;
  }

  std::shared_ptr<LaneMemory> by_host = MakeHostLane(bell);
  std::shared_ptr<const DeviceArena> arena =
      std::make_shared<const DeviceArena>(Must(DeviceArena::Export(device, 2 << 20)));
};

TEST_F(LostCopiesTest, KeepTheRegionThatIsReadAndGiveBackThoseThatWait) {
  HoldUp();
  Gather({512});
  Gather({1024, 1536});
  auto landing = MakeHostLane(bell);
  const std::weak_ptr<LaneMemory> gone = landing;
  copies->Land({std::move(landing), 0, 512, 0});
  Break("cuStreamQuery:err=700");
  while (!gone.expired()) std::this_thread::yield();  // the lane goes last
  EXPECT_TRUE(home.lost());
  EXPECT_THAT(Released(), UnorderedElementsAre(512, 1024, 1536));
}

TEST_F(LostCopiesTest, KeepABatchThatWasSubmittedInPart) {
  Break("cuMemcpyHtoDAsync:nth=2:err=2");
  Gather({0, 512});
  while (!home.lost()) std::this_thread::yield();
  WaitUntilGivenBack();
  EXPECT_TRUE(Released().empty()) << "its first copy may still run";
}

TEST_F(LostCopiesTest, KeepNothingOfADeviceThatWasLostBefore) {
  home.Lose("a test");
  WaitUntilGivenBack();
  Gather({0});
  EXPECT_THAT(Released(), ElementsAre(0));
}

class HastyLostCopiesTest : public LostCopiesTest {
 protected:
  HastyLostCopiesTest() : LostCopiesTest(std::chrono::nanoseconds(0)) {}
  // A call of the driver's that does not return, in the middle of a batch.
  void HangInACopy() { GatherUntilStruck({0, 512}, "cuMemcpyHtoDAsync:nth=2:hang"); }
};

TEST_F(HastyLostCopiesTest, GiveBackWhatWaitsBehindADriverThatDoesNotReturn) {
  HangInACopy();
  Gather({1024});
  while (!home.lost()) copies->Judge(CopyEngine::Clock::now());
  EXPECT_THAT(Released(), ElementsAre(1024));
}

TEST_F(HastyLostCopiesTest, GiveBackWhatWaitsThoughAnotherLostTheDevice) {
  HangInACopy();
  Gather({1024});
  home.Lose("a test");
  EXPECT_TRUE(Released().empty());
  copies->Judge(CopyEngine::Clock::now());
  EXPECT_THAT(Released(), ElementsAre(1024));
}

class HastyDeviceLaneTest : public DeviceLaneTest {
 protected:
  HastyDeviceLaneTest() : DeviceLaneTest(std::chrono::nanoseconds(0)) {}
};

TEST_F(HastyDeviceLaneTest, CopiesThatDoNotEndInTimeLoseTheDevice) {
  PostNew("one");
  Break(kNeverDone);
  AnswerAll();
  EXPECT_TRUE(ReapUntil(1).empty());
  EXPECT_THAT(home.reason(), HasSubstr("do not end"));
}

TEST_F(DeviceLaneTest, MemoryOfALaneThatIsDroppedIsGivenBackByTheDevicesOwnThread) {
  const auto free_bytes = [this] {
    size_t free = 0, total = 0;
    EXPECT_TRUE(device->Enter().ok());
    EXPECT_EQ(device->driver().cuMemGetInfo_v2(&free, &total), cuda::CUDA_SUCCESS);
    return free;
  };
  const size_t before = free_bytes();
  auto other = Must(home.MakeLaneDevice(4 << 20));
  EXPECT_EQ(before - free_bytes(), size_t{4} << 20);
  other.reset();
  while (free_bytes() != before) std::this_thread::yield();
}

TEST_F(HastyDeviceLaneTest, ADriverThatDoesNotReturnFromACopyLosesTheDevice) {
  PostNew("one");
  Break("cuMemcpyDtoHAsync:hang");
  AnswerAll();
  EXPECT_TRUE(ReapOnce().empty());
  while (!home.lost()) copies->Judge(CopyEngine::Clock::now());
  EXPECT_THAT(home.reason(), HasSubstr("does not return"));
  Break("");
}

TEST_F(HastyDeviceLaneTest, ADeviceThatMakesNoRoomInTimeIsLost) {
  Break("cuMemAlloc:delay_us=300000");
  EXPECT_TRUE(absl::IsUnavailable(home.MakeLaneDevice(64 << 10).status()));
  EXPECT_THAT(home.reason(), HasSubstr("in time"));
}

}  // namespace
}  // namespace zerohop

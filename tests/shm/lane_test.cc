// Both ends of a lane, joined by nothing but its offer.

#include "shm/lane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "tests/support/lane_pair.h"

namespace zerohop {
namespace {

using std::chrono::nanoseconds;
using testing::HasSubstr;

Submission SubmissionOf(uint64_t cookie) {
  Submission submission{};
  submission.cookie = cookie;
  submission.slot = static_cast<uint32_t>(cookie % 16);
  submission.rows = 1;
  return submission;
}

TEST(Lane, SubmissionGoesThereAndItsCompletionComesBack) {
  LanePair lane;
  Submission submission = SubmissionOf(41);
  submission.request_offset = 512;
  submission.request_length = 5;
  submission.response_offset = 1024;
  submission.response_length = 3;
  std::memcpy(lane.broker->request(512), "hello", 5);
  ASSERT_EQ(lane.broker->Submit(submission), RingResult::kDone);
  EXPECT_EQ(lane.broker->Published(), 1u);
  EXPECT_EQ(lane.broker->TakenByReplica(), 0u);

  Submission taken{};
  EXPECT_TRUE(lane.replica.HasSubmission());
  ASSERT_EQ(lane.replica.TakeSubmission(&taken), RingResult::kDone);
  EXPECT_EQ(std::memcmp(&taken, &submission, sizeof taken), 0);
  EXPECT_EQ(lane.broker->TakenByReplica(), 1u);
  const auto request = lane.replica.request(taken);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(request.data()), request.size()), "hello");
  std::memcpy(lane.replica.response(taken).data(), "bye", 3);
  Completion completion{};
  completion.cookie = 41;
  completion.tokens = 12;
  EXPECT_FALSE(lane.broker->HasCompletion());
  ASSERT_EQ(lane.replica.Complete(completion), RingResult::kDone);

  Completion reaped{};
  EXPECT_TRUE(lane.broker->HasCompletion());
  ASSERT_EQ(lane.broker->TakeCompletion(&reaped), RingResult::kDone);
  EXPECT_EQ(std::memcmp(&reaped, &completion, sizeof reaped), 0);
  EXPECT_EQ(std::memcmp(lane.broker->response(1024), "bye", 3), 0);
  EXPECT_EQ(lane.broker->TakeCompletion(&reaped), RingResult::kEmpty);
  EXPECT_EQ(lane.replica.TakeSubmission(&taken), RingResult::kEmpty);
}

TEST(Lane, WithdrawnIsTheVerySubmissionAndNoOther) {
  LanePair lane;
  const Submission mine = SubmissionOf(0x1234567890abcde5);
  EXPECT_FALSE(lane.replica.Withdrawn(mine));
  lane.broker->Withdraw(mine.slot, mine.cookie);
  EXPECT_TRUE(lane.replica.Withdrawn(mine));
  Submission later = mine;
  later.cookie = 99;
  EXPECT_FALSE(lane.replica.Withdrawn(later)) << "the slot was used again";
  Submission beyond = mine;
  beyond.slot = 16;
  EXPECT_FALSE(lane.replica.Withdrawn(beyond)) << "no such cancel word";
  beyond.slot = ~0u;
  EXPECT_FALSE(lane.replica.Withdrawn(beyond));
}

TEST(Lane, IsReadyOnlyOnceThisGenerationSaysSo) {
  LanePair lane;
  EXPECT_FALSE(lane.broker->Ready());
  lane.replica.MarkReady();
  EXPECT_TRUE(lane.broker->Ready());
}

TEST(Lane, HeartbeatReachesTheBroker) {
  LanePair lane;
  const auto start = HeartbeatReader::Clock::time_point(std::chrono::seconds(5));
  HeartbeatReader reader = lane.broker->MakeHeartbeatReader(start);
  lane.replica.heartbeat().Beat();
  lane.replica.heartbeat().Enter(Phase::kRunning);
  reader.Look(start + std::chrono::seconds(1));
  EXPECT_EQ(reader.BeatSilentFor(start + std::chrono::seconds(1)), nanoseconds(0));
  EXPECT_EQ(reader.phase(), Phase::kRunning);
}

TEST(Lane, RecordsBeyondTheArenasNameNoBytes) {
  LanePair lane;
  const uint64_t arena = lane.broker->geometry().request_arena_bytes;
  Submission submission = SubmissionOf(1);
  const auto both_empty = [&](uint64_t offset, uint32_t length) {
    submission.request_offset = submission.response_offset = offset;
    submission.request_length = submission.response_length = length;
    return lane.replica.request(submission).empty() && lane.replica.response(submission).empty();
  };
  EXPECT_TRUE(both_empty(arena + 1, 0));
  EXPECT_TRUE(both_empty(arena, 1));
  EXPECT_TRUE(both_empty(0, static_cast<uint32_t>(arena) + 1));
  EXPECT_TRUE(both_empty(~uint64_t{0}, 2)) << "the sum must not wrap";
  EXPECT_TRUE(both_empty(~uint64_t{0} - 3, ~0u));
  EXPECT_FALSE(both_empty(0, static_cast<uint32_t>(arena)));
  EXPECT_FALSE(both_empty(arena - 1, 1));
}

TEST(Lane, ReplicaCannotWriteWhatTheBrokerReliesOn) {
  BrokerBell bell = Must(BrokerBell::Create());
  const BrokerLane lane = Must(BrokerLane::Create({1, 1, 0}, SmallGeometry()));
  const LaneOffer offer = Must(lane.Offer(bell));
  EXPECT_EQ(::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, offer.broker_segment.get(), 0),
            MAP_FAILED);
}

// What Attach says of a lane made for {epoch 7, generation 3, replica 1}.
absl::Status AttachAs(const LaneIdentity& expected) {
  BrokerBell bell = Must(BrokerBell::Create());
  const BrokerLane lane = Must(BrokerLane::Create({7, 3, 1}, SmallGeometry()));
  return ReplicaLane::Attach(Must(lane.Offer(bell)), expected, nanoseconds(0)).status();
}

TEST(LaneAttach, AcceptsItsOwnIdentity) {
  EXPECT_TRUE(AttachAs({7, 3, 1}).ok());
}

TEST(LaneAttach, RefusesAForeignEpoch) {
  EXPECT_THAT(std::string(AttachAs({8, 3, 1}).message()), HasSubstr("epoch: expected 8, got 7"));
}

TEST(LaneAttach, RefusesAForeignGeneration) {
  EXPECT_THAT(std::string(AttachAs({7, 4, 1}).message()), HasSubstr("generation: expected 4, got 3"));
}

TEST(LaneAttach, RefusesTheLaneOfAnotherReplica) {
  EXPECT_THAT(std::string(AttachAs({7, 3, 2}).message()), HasSubstr("replica: expected 2, got 1"));
}

// An offer whose broker segment begins with `header`, all else as it must be.
absl::Status AttachTo(const LaneHeader& header) {
  const LaneOffsets at = OffsetsOf(SmallGeometry());
  const Segment broker = Must(Segment::Create("broker", at.broker_bytes, Access::kReadWrite));
  const Segment replica = Must(Segment::Create("replica", at.replica_bytes, Access::kReadWrite));
  const Segment bell = Must(Segment::Create("bell", kPageBytes, Access::kReadWrite));
  std::memcpy(static_cast<void*>(broker.data()), &header, sizeof header);
  LaneOffer offer{Must(broker.Share(Access::kReadOnly)), Must(replica.Share(Access::kReadWrite)),
                  Must(bell.Share(Access::kReadWrite))};
  return ReplicaLane::Attach(std::move(offer), {7, 3, 1}, nanoseconds(0)).status();
}

LaneHeader GoodHeader() {
  return {kLaneMagic, kLaneVersion, 1, 7, 3, SmallGeometry()};
}

TEST(LaneAttach, RefusesWhatIsNoLane) {
  LaneHeader header = GoodHeader();
  ASSERT_TRUE(AttachTo(header).ok());
  header.magic ^= 1;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("lane magic: expected"));
}

TEST(LaneAttach, RefusesAnotherVersion) {
  LaneHeader header = GoodHeader();
  header.version = kLaneVersion + 1;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("lane version: expected 4, got 5"));
}

TEST(LaneAttach, RefusesAGeometryThatCannotBe) {
  LaneHeader header = GoodHeader();
  header.geometry.ring_cells = 17;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("ring cells"));
  header = GoodHeader();
  header.geometry.response_arena_bytes = 1;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("arena"));
}

TEST(LaneAttach, RefusesSegmentsOfAnotherSizeThanTheGeometrySays) {
  LaneHeader header = GoodHeader();
  header.geometry.request_arena_bytes *= 2;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("shared segment: expected"));
  header = GoodHeader();
  header.geometry.response_arena_bytes *= 2;
  EXPECT_THAT(std::string(AttachTo(header).message()), HasSubstr("shared segment: expected"));
}

TEST(LaneAttach, RefusesAnEmptyOrMissingSegment) {
  EXPECT_FALSE(ReplicaLane::Attach(LaneOffer{}, {7, 3, 1}, nanoseconds(0)).ok());
  LaneOffer empty{UniqueFd(::memfd_create("empty", MFD_CLOEXEC)), UniqueFd(), UniqueFd()};
  EXPECT_THAT(
      std::string(ReplicaLane::Attach(std::move(empty), {7, 3, 1}, nanoseconds(0)).status().message()),
      HasSubstr("lane header bytes"));
}

TEST(Lane, CreateRefusesAGeometryThatCannotBe) {
  LaneGeometry geometry = SmallGeometry();
  geometry.ring_cells = 3;
  EXPECT_TRUE(absl::IsInvalidArgument(BrokerLane::Create({}, geometry).status()));
}

// Broker and replica on a thread each, with sleeps and rings as in service.
TEST(LaneThreads, EverySubmissionIsCompletedThroughSleepsAndRings) {
  constexpr uint64_t kRounds = 20'000;
  LanePair lane;
  std::thread replica([&] {
    uint64_t done = 0;
    while (done < kRounds) {
      Submission submission{};
      bool any = false;
      while (lane.replica.TakeSubmission(&submission) == RingResult::kDone) {
        const auto request = lane.replica.request(submission);
        std::memcpy(lane.replica.response(submission).data(), request.data(), request.size());
        Completion completion{};
        completion.cookie = submission.cookie;
        completion.slot = submission.slot;
        ASSERT_EQ(lane.replica.Complete(completion), RingResult::kDone);
        any = true;
        ++done;
      }
      if (any) lane.replica.RingBroker();
      if (done < kRounds) lane.replica.WaitForWork(std::chrono::seconds(100));
    }
  });
  auto sleeper = lane.bell.MakeSleeper(nanoseconds(0));
  uint64_t posted = 0, answered = 0;
  while (answered < kRounds) {
    bool any = false;
    while (posted < kRounds && posted - answered < 16) {
      Submission submission = SubmissionOf(posted + 1);
      submission.request_offset = submission.response_offset = posted % 16 * 512;
      submission.request_length = submission.response_length = sizeof posted;
      std::memcpy(lane.broker->request(submission.request_offset), &posted, sizeof posted);
      ASSERT_EQ(lane.broker->Submit(submission), RingResult::kDone);
      ++posted;
      any = true;
    }
    if (any) lane.broker->RingReplica();
    Completion completion{};
    while (lane.broker->TakeCompletion(&completion) == RingResult::kDone) {
      ASSERT_EQ(completion.cookie, answered + 1);
      uint64_t echoed;
      std::memcpy(&echoed, lane.broker->response(answered % 16 * 512), sizeof echoed);
      ASSERT_EQ(echoed, answered);
      ++answered;
    }
    if (answered < posted) sleeper.Wait(std::chrono::seconds(100));
  }
  replica.join();
}

}  // namespace
}  // namespace zerohop

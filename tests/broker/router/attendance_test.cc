// A front thread's attendance, with a lane thread that sleeps and takes nothing off.

#include "broker/router/attendance.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/router_house.h"

namespace zerohop {
namespace {

struct NoReaper final : Reaper {
  void OnBell(std::chrono::steady_clock::time_point) override {}
};

class AttendanceTest : public testing::Test {
 protected:
  // Turns until the thread would sleep in gRPC.
  int Await() {
    int turns = 0;
    while (turns < kMany && attendance.AwaitAnswer()) ++turns;
    return turns;
  }

  static constexpr int kMany = 1000;
  RouterHouse house;
  NoReaper nobody;
  LaneThread lane_thread{nobody, house.bell(), std::chrono::nanoseconds(0)};
  Attendance attendance{house.router(), house.bell().MakeAttendant(), std::chrono::nanoseconds(0)};
};

TEST_F(AttendanceTest, SleepsInGrpcWhereNothingIsExpected) {
  house.Serve(0);
  attendance.Begin();
  EXPECT_EQ(Await(), 0);
}

TEST_F(AttendanceTest, SleepsInGrpcWhereNobodyAnswers) {
  house.Serve(0);
  house.Submit({"a"});
  for (int i = 0; i < 100; ++i) {
    attendance.Begin();
    EXPECT_LT(Await(), 20);
  }
}

TEST_F(AttendanceTest, RequestsAreLookedForAwakeUnlessNobodyAnswersSoon) {
  house.Serve(0);
  EXPECT_TRUE(attendance.MayLookAwake());
  // The lane thread may be awake at first.
  for (int i = 0; i < 100'000 && attendance.MayLookAwake(); ++i) {
    TestCall& call = house.Submit({"a"});
    EXPECT_FALSE(attendance.MayLookAwake()) << "a replica is at work";
    attendance.Begin();
    (void)Await();
    house.Settle();
    call.DropRows();
    std::this_thread::yield();
  }
  EXPECT_FALSE(attendance.MayLookAwake());
}

TEST(AttendanceBesideALoneClient, TheReplicaIsAwakeAndNotTheFrontThread) {
  RouterOptions options;
  options.may_stay_awake = true;
  RouterHouse house(options);
  house.Serve(0);
  const Attendance attendance(house.router(), house.bell().MakeAttendant(), std::chrono::microseconds(50));
  const auto turn = [&] {
    TestCall& call = house.Submit({"a"});
    house.Settle();
    call.DropRows();
  };
  turn();
  EXPECT_TRUE(attendance.MayLookAwake()) << "nothing is known of the clients";
  for (int i = 0; i < 100; ++i) turn();
  EXPECT_FALSE(attendance.MayLookAwake());
  TestCall& other = house.Submit({"a"});
  turn();
  other.DropRows();
  EXPECT_TRUE(attendance.MayLookAwake()) << "another client came";
}

TEST_F(AttendanceTest, TakesOffWhatComesSoon) {
  house.Serve(0);
  int attended = 0;
  // The lane thread may be awake at first, and now and then.
  for (int i = 0; i < 100'000 && attended < 50; ++i) {
    attendance.Begin();
    TestCall& call = house.Submit({"a"});
    house.replica(0).AnswerAll();
    attended += Await() > 0 && call.answers() == 1;
    if (call.answers() == 0) house.Reap();  // as the lane thread would
    ASSERT_EQ(call.answers(), 1);
    EXPECT_EMBEDDED(call);
    call.DropRows();
    std::this_thread::yield();
  }
  EXPECT_EQ(attended, 50);
}

}  // namespace
}  // namespace zerohop

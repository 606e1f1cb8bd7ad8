#include "broker/router/spin_trial.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::microseconds;

constexpr int kPeriod = 8192;  // requests, in which each way is tried once

// A lone client whose turn takes so long with spinning, so long without.
struct LoneClient {
  LoneClient(microseconds spinning, microseconds sleeping) : with(spinning), without(sleeping) {}
  // How many of so many requests were answered spinning.
  int Requests(int count) {
    int spun = 0;
    for (int i = 0; i < count; ++i) {
      spin = trial.OnLoneArrival(now);
      spun += spin;
      now += spin ? with : without;
    }
    return spun;
  }

  microseconds with, without;
  SpinTrial trial;
  SpinTrial::Clock::time_point now{std::chrono::hours(1)};
  bool spin = false;
};

TEST(SpinTrial, SpinsWhereSpinningIsFaster) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(kPeriod);
  const int spun = client.Requests(kPeriod);
  EXPECT_GT(spun, kPeriod - kPeriod / 64);
  EXPECT_LT(spun, kPeriod) << "the other way is tried now and then";
}

TEST(SpinTrial, SleepsWhereSpinningIsSlower) {
  LoneClient client(microseconds(400), microseconds(80));
  client.Requests(kPeriod);
  const int spun = client.Requests(kPeriod);
  EXPECT_LT(spun, kPeriod / 64);
  EXPECT_GT(spun, 0);
}

TEST(SpinTrial, ChangesItsMindWhenTheMachineDoes) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(2 * kPeriod);
  client.with = microseconds(500);
  client.Requests(kPeriod);
  EXPECT_LT(client.Requests(kPeriod), kPeriod / 64);
  client.with = microseconds(10);
  client.Requests(4 * kPeriod);
  EXPECT_GT(client.Requests(kPeriod), kPeriod - kPeriod / 64);
}

TEST(SpinTrial, PausesOfTheClientSayNothing) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(kPeriod);
  for (int i = 0; i < 100; ++i) {
    client.now += std::chrono::seconds(1);
    client.Requests(9);
  }
  EXPECT_GT(client.Requests(kPeriod), kPeriod - kPeriod / 64);
}

TEST(SpinTrial, TurnsWithCompanySayNothing) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(kPeriod);
  for (int i = 0; i < 200; ++i) {
    client.Requests(1);
    client.trial.OnCompany();
    client.now += std::chrono::milliseconds(4);  // slow, because others were served
  }
  EXPECT_GT(client.Requests(kPeriod), kPeriod - kPeriod / 64);
}

TEST(SpinTrial, ClientsThatTakeTurnsAreNotALoneOne) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(kPeriod);
  int spun = 0;
  for (int i = 0; i < 200; ++i) {
    client.trial.OnCompany();
    spun += client.Requests(15);
  }
  EXPECT_EQ(spun, 0);
  EXPECT_GT(client.Requests(400), 300) << "the others have left";
}

TEST(SpinTrial, AnOutlierDoesNotDecide) {
  LoneClient client(microseconds(50), microseconds(80));
  client.Requests(kPeriod);
  for (int i = 0; i < 20; ++i) {
    client.now += std::chrono::milliseconds(3);  // the scheduler served somebody else
    client.Requests(kPeriod / 20);
  }
  EXPECT_GT(client.Requests(kPeriod), kPeriod - kPeriod / 64);
}

}  // namespace
}  // namespace zerohop

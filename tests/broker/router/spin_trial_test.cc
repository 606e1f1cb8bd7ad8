#include "broker/router/spin_trial.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::microseconds;

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
  client.Requests(1024);
  const int spun = client.Requests(1024);
  EXPECT_GT(spun, 1000);
  EXPECT_LT(spun, 1024) << "the other way is tried now and then";
}

TEST(SpinTrial, SleepsWhereSpinningIsSlower) {
  LoneClient client(microseconds(400), microseconds(80));
  client.Requests(1024);
  const int spun = client.Requests(1024);
  EXPECT_LT(spun, 24);
  EXPECT_GT(spun, 0);
}

TEST(SpinTrial, ChangesItsMindWhenTheMachineDoes) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(2048);
  client.with = microseconds(500);
  client.Requests(1024);
  EXPECT_LT(client.Requests(1024), 24);
  client.with = microseconds(10);
  client.Requests(2048);
  EXPECT_GT(client.Requests(1024), 1000);
}

TEST(SpinTrial, PausesOfTheClientSayNothing) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(1024);
  for (int i = 0; i < 100; ++i) {
    client.now += std::chrono::seconds(1);
    client.Requests(9);
  }
  EXPECT_GT(client.Requests(1024), 1000);
}

TEST(SpinTrial, TurnsWithCompanySayNothing) {
  LoneClient client(microseconds(40), microseconds(80));
  client.Requests(1024);
  for (int i = 0; i < 200; ++i) {
    client.Requests(1);
    client.trial.OnCompany();
    client.now += std::chrono::milliseconds(4);  // slow, because others were served
  }
  EXPECT_GT(client.Requests(1024), 1000);
}

}  // namespace
}  // namespace zerohop

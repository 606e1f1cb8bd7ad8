#include "broker/router/patience.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

using std::chrono::microseconds;

// How many of so many turns were attended, when every wait ends like this.
int Turns(Patience& patience, int count, microseconds waited, bool rang) {
  int attended = 0;
  for (int i = 0; i < count; ++i) {
    if (!patience.IsWorthwhile()) continue;
    ++attended;
    if (patience.IsShort()) patience.Record(waited, rang);
  }
  return attended;
}

TEST(Patience, AttendsWhileAnswersComeSoon) {
  Patience patience;
  EXPECT_EQ(Turns(patience, 1000, microseconds(20), true), 1000);
}

TEST(Patience, LeavesSlowEnginesToTheLaneThreadButTriesNowAndThen) {
  Patience patience;
  Turns(patience, 100, Patience::kLongest, false);
  const int attended = Turns(patience, 1000, Patience::kLongest, false);
  EXPECT_LT(attended, 100);
  EXPECT_GT(attended, 10);
}

TEST(Patience, ComesBackWhenTheEngineHasBecomeFast) {
  Patience patience;
  Turns(patience, 100, Patience::kLongest, false);
  Turns(patience, 1000, microseconds(20), true);
  EXPECT_EQ(Turns(patience, 1000, microseconds(20), true), 1000);
}

TEST(Patience, WaitsAFewTimesInATryAndNoMore) {
  Patience patience;
  Turns(patience, 100, Patience::kLongest, false);
  while (!patience.IsWorthwhile()) {
  }
  int waits = 0;
  for (; patience.IsShort() && waits < 100; ++waits) patience.Record(Patience::kLongest, false);
  EXPECT_GE(waits, 1);
  EXPECT_LT(waits, 10);
}

}  // namespace
}  // namespace zerohop

#include "replica_shim/linger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <vector>

namespace zerohop {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Time = Linger::Clock::time_point;
using Duration = Linger::Clock::duration;

constexpr Duration kNothing{};

// A worker with a clock of its own. Prompts are of ten tokens, and alone in their submissions.
struct Shop {
  // A pass over so many prompts, whose callers are answered.
  void Pass(size_t prompts, Duration took) {
    now += took;
    linger.OnPass(10 * prompts, took);
    linger.OnAnswered(prompts, prompts, now);
    linger.OnTaken(0);
  }
  // The passes of a model that costs 4 ms and 1 ms a prompt.
  void LearnModel() {
    for (int i = 0; i < 100; ++i) Pass(1 + i % 8, milliseconds(4 + 1 + i % 8));
  }
  Duration Wait(size_t at_hand) { return linger.Wait(at_hand, now); }

  Linger linger;
  Time now{std::chrono::hours(1)};
};

TEST(Linger, WaitsForThoseThatItHasAnswered) {
  Shop shop;
  shop.LearnModel();
  shop.Pass(8, milliseconds(12));
  EXPECT_EQ(shop.Wait(0), kNothing) << "nothing to run";
  shop.now += microseconds(100);
  shop.linger.OnTaken(2);
  EXPECT_EQ(shop.Wait(2), microseconds(2900)) << "until a quarter of the pass has gone by since its end";
  shop.now += microseconds(100);
  shop.linger.OnTaken(5);
  EXPECT_NEAR(double(shop.Wait(7).count()), 4e6 / 7, 1e3) << "one is missing: a seventh of a pass's own cost";
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(8), kNothing) << "all are back";
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(9), kNothing) << "and another";
}

TEST(Linger, NeverWaitsForLongerThanAPassCostsByItself) {
  Shop shop;
  shop.LearnModel();
  shop.Pass(32, milliseconds(36));
  shop.linger.OnTaken(1);
  EXPECT_NEAR(double(shop.Wait(1).count()), 4e6, 1e3) << "a quarter of the pass would be 9 ms";
}

TEST(Linger, WhoComesAMomentLaterIsNotKeptWaiting) {
  Shop shop;
  shop.LearnModel();
  shop.Pass(8, milliseconds(12));
  shop.now += milliseconds(3);
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), kNothing);
}

TEST(Linger, LoneCallerIsNeverKeptWaiting) {
  Shop shop;
  shop.LearnModel();
  for (int i = 0; i < 1'000; ++i) {
    shop.Pass(1, milliseconds(5));
    shop.now += microseconds(i);
    shop.linger.OnTaken(1);
    ASSERT_EQ(shop.Wait(1), kNothing);
  }
}

TEST(Linger, WhatHadComeBeforeTheAnswersLeftDoesNotCountAsBack) {
  Shop shop;
  shop.LearnModel();
  shop.linger.OnPass(40, milliseconds(8));
  shop.linger.OnAnswered(4, 4, shop.now);
  shop.linger.OnTaken(4);
  EXPECT_EQ(shop.Wait(4), milliseconds(2)) << "others than the four that were answered";
}

TEST(Linger, DoesNotWaitWherePassesCostNothingByThemselves) {
  Shop shop;
  for (int i = 0; i < 100; ++i) shop.Pass(1 + i % 8, milliseconds(1 + i % 8));
  shop.Pass(8, milliseconds(8));
  shop.linger.OnTaken(1);
  EXPECT_LT(shop.Wait(1), microseconds(1));
}

TEST(Linger, DoesNotWaitWhileItDoesNotKnowWhatAPassCosts) {
  Shop shop;
  for (int i = 0; i < 100; ++i) shop.Pass(4, milliseconds(8));
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), kNothing) << "all passes were of one size";
}

TEST(Linger, SizesThatHardlyDifferTeachNothing) {
  Shop shop;
  for (int i = 0; i < 100; ++i) shop.Pass(40 + i % 2, milliseconds(i % 2 ? 7 : 8));
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), kNothing);
}

TEST(Linger, WaitsInVainEverMoreSeldom) {
  Shop shop;
  shop.LearnModel();
  std::vector<int> waits;
  for (int pass = 0; pass < 300; ++pass) {
    shop.Pass(8, milliseconds(12));
    shop.linger.OnTaken(1);
    if (shop.Wait(1) > kNothing) waits.push_back(pass);
  }
  std::vector<int> gaps;
  for (size_t i = 1; i < waits.size(); ++i) gaps.push_back(waits[i] - waits[i - 1]);
  EXPECT_EQ(gaps, (std::vector<int>{2, 3, 5, 9, 17, 33, 65, 65, 65}));
}

TEST(Linger, WaitsAgainForThoseWhoDoComeBack) {
  Shop shop;
  shop.LearnModel();
  size_t waits = 0;
  for (int pass = 0; pass < 300; ++pass) {
    shop.Pass(8, milliseconds(12));
    const size_t come_at_once = pass < 100 ? 1 : 5;
    shop.linger.OnTaken(come_at_once);
    if (shop.Wait(come_at_once) > kNothing && pass >= 100) ++waits;
  }
  EXPECT_GE(waits, 300u - 100 - 64);
  std::vector<bool> waited;
  for (int pass = 0; pass < 4; ++pass) {
    shop.Pass(8, milliseconds(12));
    shop.linger.OnTaken(1);
    waited.push_back(shop.Wait(1) > kNothing);
  }
  EXPECT_EQ(waited, (std::vector<bool>{true, false, true, false})) << "patient again";
}

// A replica whose passes cost 4 ms and 1 ms a prompt, before callers that come by `next_arrival`.
struct Replay {
  double prompts_a_pass = 0, share_waited = 0;
};

// `returns`: each caller comes again so long after its answer; else they come by chance, so far apart on
// average.
Replay Play(size_t callers, std::optional<Duration> returns, Duration apart) {
  std::mt19937 random(51);
  std::exponential_distribution<double> by_chance(1.0 / std::chrono::duration<double>(apart).count());
  Linger linger;
  Time now{std::chrono::hours(1)};
  std::deque<Time> arrivals;  // to come, in order
  const auto arrive_by_chance = [&](Time after) {
    return after + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(by_chance(random)));
  };
  for (size_t i = 0; i < callers; ++i) arrivals.push_back(now + i * apart);
  size_t pool = 0, passes = 0, prompts = 0;
  Duration waited{};
  const Time begin = now;
  while (passes < 5'000) {
    size_t taken = 0;
    for (; !arrivals.empty() && arrivals.front() <= now; arrivals.pop_front(), ++taken) {
      if (!returns) arrivals.push_back(arrive_by_chance(arrivals.back()));
    }
    linger.OnTaken(taken);
    pool += taken;
    if (pool == 0) {
      now = arrivals.front();
      continue;
    }
    if (const Duration wait = linger.Wait(pool, now); wait > kNothing) {
      const Time until = arrivals.empty() ? now + wait : std::min(now + wait, arrivals.front());
      waited += until - now;
      now = until;
      continue;
    }
    const Duration took = milliseconds(4 + pool);
    now += took;
    linger.OnPass(10 * pool, took);
    linger.OnAnswered(pool, pool, now);
    ++passes, prompts += pool;
    if (returns) {
      for (size_t i = 0; i < pool; ++i) arrivals.push_back(now + *returns + i * apart);
    }
    pool = 0;
  }
  return {double(prompts) / double(passes), std::chrono::duration<double>(waited) / (now - begin)};
}

TEST(Linger, CallersThatSendOneRequestAfterTheOtherShareAPass) {
  const Replay replay = Play(8, microseconds(200), microseconds(100));
  EXPECT_GT(replay.prompts_a_pass, 7.5) << "eight callers; who runs what is there reaches 4.5";
}

TEST(Linger, CallersThatComeByChanceAreHardlyKeptWaiting) {
  for (const Duration apart : {milliseconds(20), milliseconds(6), milliseconds(2)}) {
    EXPECT_LT(Play(1, std::nullopt, apart).share_waited, 0.03);
  }
}

}  // namespace
}  // namespace zerohop

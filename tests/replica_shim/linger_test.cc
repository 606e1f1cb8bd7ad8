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
    linger.JudgeWait();
    linger.LearnPass(10 * prompts, took);
    linger.OnAnswered(prompts, prompts, 0, now);
  }
  // The passes of a model that costs 4 ms and 1 ms a prompt.
  void LearnModel() {
    for (int i = 0; i < 100; ++i) Pass(1 + i % 8, milliseconds(4 + 1 + i % 8));
  }
  Duration Wait(size_t at_hand) { return linger.TimeToWait(at_hand, now); }

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

TEST(Linger, WhoSendsOnePromptAfterTheOtherAloneIsNeverKeptWaiting) {
  Shop shop;
  shop.LearnModel();
  for (int i = 0; i < 1'000; ++i) {
    shop.Pass(1, milliseconds(5));
    shop.now += microseconds(i);
    shop.linger.OnTaken(1);
    ASSERT_EQ(shop.Wait(1), kNothing);
  }
}

TEST(Linger, WaitIsJudgedByThePassAfterItWhetherOrNotItsTimeIsKnown) {
  Shop shop;
  shop.LearnModel();
  shop.Pass(8, milliseconds(12));
  shop.linger.OnTaken(1);
  EXPECT_GT(shop.Wait(1), kNothing);
  shop.linger.JudgeWait();
  shop.linger.OnAnswered(8, 8, 0, shop.now);
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), kNothing) << "the last was in vain";
}

TEST(Linger, WaitsForMomentsOnly) {
  Shop shop;
  for (int i = 0; i < 100; ++i) shop.Pass(1 + i % 8, std::chrono::seconds(4 + i % 8));
  shop.Pass(8, std::chrono::seconds(12));
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), milliseconds(20)) << "however long passes are";
  shop.now += milliseconds(20) - microseconds(99);
  EXPECT_EQ(shop.Wait(1), kNothing) << "going to sleep takes as long";
}

TEST(Linger, WhatHadComeBeforeTheAnswersLeftDoesNotCountAsBack) {
  Shop shop;
  shop.LearnModel();
  shop.linger.LearnPass(40, milliseconds(8));
  shop.linger.OnAnswered(4, 4, 4, shop.now);
  shop.linger.OnTaken(4);
  EXPECT_EQ(shop.Wait(4), milliseconds(2)) << "others than the four that were answered";
}

TEST(Linger, DoesNotWaitWherePassesCostNothingByThemselves) {
  Shop shop;
  for (int i = 0; i < 100; ++i) shop.Pass(1 + i % 8, milliseconds(1 + i % 8));
  shop.Pass(8, milliseconds(8));
  shop.linger.OnTaken(1);
  EXPECT_EQ(shop.Wait(1), kNothing);
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
    const size_t come_at_once = pass < 100 ? 1 : 6;
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

struct Replay {
  double prompts_a_pass = 0, share_waited = 0;
};

// A replica whose passes cost 4 ms and 1 ms a prompt. `arrivals`: in order. With `comes_back`, the callers of
// a pass come again one after the other, so long apart, after their answers.
Replay Play(std::deque<Time> arrivals, std::optional<Duration> comes_back) {
  Linger linger;
  Time now = arrivals.front();
  size_t pool = 0, passes = 0, prompts = 0;
  Duration waited{};
  const Time begin = now;
  while (passes < 5'000 && !(arrivals.empty() && pool == 0)) {
    const auto taken = std::upper_bound(arrivals.begin(), arrivals.end(), now) - arrivals.begin();
    arrivals.erase(arrivals.begin(), arrivals.begin() + taken);
    linger.OnTaken(static_cast<size_t>(taken));
    pool += static_cast<size_t>(taken);
    if (pool == 0) {
      now = arrivals.front();
      continue;
    }
    if (const Duration wait = linger.TimeToWait(pool, now); wait > kNothing) {
      const Time until = arrivals.empty() ? now + wait : std::min(now + wait, arrivals.front());
      waited += until - now;
      now = until;
      continue;
    }
    const Duration took = milliseconds(4 + pool);
    now += took;
    linger.JudgeWait();
    linger.LearnPass(10 * pool, took);
    const auto waiting = std::upper_bound(arrivals.begin(), arrivals.end(), now) - arrivals.begin();
    linger.OnAnswered(pool, pool, static_cast<size_t>(waiting), now);
    ++passes, prompts += pool;
    for (size_t i = 1; comes_back && i <= pool; ++i) arrivals.push_back(now + i * *comes_back);
    pool = 0;
  }
  return {double(prompts) / double(passes), std::chrono::duration<double>(waited) / (now - begin)};
}

TEST(Linger, CallersThatSendOneRequestAfterTheOtherShareAPass) {
  const std::deque<Time> one_by_one = {Time(milliseconds(1)), Time(milliseconds(2)), Time(milliseconds(3)),
                                       Time(milliseconds(4)), Time(milliseconds(5)), Time(milliseconds(6))};
  EXPECT_GT(Play(one_by_one, microseconds(200)).prompts_a_pass, 5.9) << "six callers; without a wait it is 3";
}

TEST(Linger, CallersThatComeByChanceAreHardlyKeptWaiting) {
  for (const double apart :
       {0.02, 0.006, 0.002, 0.0015}) {  // seconds; a replica in full batches takes one in 1.1 ms
    std::mt19937 random(51);
    std::exponential_distribution<double> by_chance(1 / apart);
    std::deque<Time> arrivals = {Time(milliseconds(1))};
    while (arrivals.size() < 40'000) {
      const std::chrono::duration<double> gap(by_chance(random));
      arrivals.push_back(arrivals.back() + std::chrono::duration_cast<Duration>(gap));
    }
    EXPECT_LT(Play(std::move(arrivals), std::nullopt).share_waited, 0.015) << apart;
  }
}

}  // namespace
}  // namespace zerohop

// The bell loses no ring: a lost one would show as a wait that lasts all of
// kNever, and as a round that the sleeper had to be told of twice.

#include "shm/bell.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace zerohop {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr seconds kNever(100);

struct Bell {
  BellRinger ringer() { return {&rings, &sleeping}; }
  BellSleeper sleeper(nanoseconds spin = nanoseconds(0)) { return {&rings, &sleeping, spin}; }
  BellAttendant attendant() { return {&rings, &sleeping}; }

  std::atomic<uint32_t> rings{0}, sleeping{kAwake};
};

TEST(Bell, RingDuringTheLookEndsTheNextWaitAtOnce) {
  Bell bell;
  auto sleeper = bell.sleeper();
  bell.ringer().Ring();
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(kNever);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNever) << "the ring was lost";
  EXPECT_EQ(bell.sleeping, kAwake);
}

TEST(Bell, WaitIsBoundedWhenNobodyRings) {
  Bell bell;
  auto sleeper = bell.sleeper();
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(std::chrono::milliseconds(2));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2));
  EXPECT_EQ(bell.sleeping, kAwake);
}

TEST(Bell, ManyRingsEndOneWait) {
  Bell bell;
  auto sleeper = bell.sleeper();
  for (int i = 0; i < 5; ++i) bell.ringer().Ring();
  sleeper.Wait(kNever);
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(std::chrono::milliseconds(2));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2)) << "all were answered";
}

TEST(Bell, CountOfRingsMayWrap) {
  Bell bell;
  bell.rings = ~0u;
  auto sleeper = bell.sleeper();
  sleeper.Wait(kNever);  // ~0 rings are news to it
  bell.ringer().Ring();
  EXPECT_EQ(bell.rings, 0u);
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(kNever);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNever);
}

TEST(Bell, WorkThatIsSeenEndsTheWaitBeforeItsRing) {
  Bell bell;
  auto sleeper = bell.sleeper(seconds(1));
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(kNever, true, [] { return true; });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNever);
  EXPECT_EQ(bell.sleeping, kAwake);
}

TEST(Bell, RingOfWorkThatWasSeenEndsOneSleep) {
  Bell bell;
  auto sleeper = bell.sleeper(nanoseconds(1));
  bell.ringer().Ring();
  sleeper.Wait(kNever, true, [] { return true; });
  const auto nothing = [] { return false; };
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(kNever, true, nothing);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNever) << "it may have meant something else";
  const auto answered = std::chrono::steady_clock::now();
  sleeper.Wait(std::chrono::milliseconds(2), true, nothing);
  EXPECT_GE(std::chrono::steady_clock::now() - answered, std::chrono::milliseconds(2));
}

// As a broker rings that has told its replica to drain.
TEST(Bell, RingWithoutWorkEndsTheSleepOfOneThatLooksForWork) {
  Bell bell;
  std::thread ringing([&] {
    while (bell.sleeping != kAsleep) std::this_thread::yield();
    bell.ringer().Ring();
  });
  auto sleeper = bell.sleeper(std::chrono::microseconds(20));
  const auto begin = std::chrono::steady_clock::now();
  sleeper.Wait(kNever, true, [] { return false; });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kNever) << "the ring was lost";
  ringing.join();
}

// Two threads hand a turn to and fro. Every hand-over is one ring; the other side sleeps, or is about to, or
// is not yet: all interleavings occur over many rounds.
void PlayPingPong(nanoseconds spin, int rounds, bool peeks = false) {
  Bell there, back;
  std::atomic<int> ping{0}, pong{0};
  std::atomic<bool> lost{false};
  const auto wait_for = [&](BellSleeper& sleeper, std::atomic<int>& turn, int round) {
    while (turn.load(std::memory_order_acquire) != round && !lost) {
      const auto begin = std::chrono::steady_clock::now();
      if (peeks) {
        sleeper.Wait(kNever, true, [&] { return turn.load(std::memory_order_relaxed) == round; });
      } else {
        sleeper.Wait(kNever);
      }
      if (std::chrono::steady_clock::now() - begin >= kNever) lost = true;
    }
  };
  std::thread other([&] {
    auto sleeper = there.sleeper(spin);
    for (int round = 1; round <= rounds && !lost; ++round) {
      wait_for(sleeper, ping, round);
      pong.store(round, std::memory_order_release);
      back.ringer().Ring();
    }
  });
  auto sleeper = back.sleeper(spin);
  for (int round = 1; round <= rounds && !lost; ++round) {
    ping.store(round, std::memory_order_release);
    there.ringer().Ring();
    wait_for(sleeper, pong, round);
  }
  other.join();
  EXPECT_FALSE(lost);
  EXPECT_EQ(pong, rounds);
}

TEST(Bell, NoRingIsLostBetweenTwoThreadsThatSleep) {
  PlayPingPong(nanoseconds(0), 20'000);
}

TEST(Bell, NoRingIsLostBetweenTwoThreadsThatSpinFirst) {
  PlayPingPong(std::chrono::microseconds(20), 5'000);
}

TEST(Bell, NoRingIsLostBetweenTwoThreadsThatPeekAtTheirWork) {
  PlayPingPong(nanoseconds(0), 10'000, /*peeks=*/true);
  PlayPingPong(std::chrono::microseconds(20), 5'000, /*peeks=*/true);
}

// Several ringers, plain data published before each ring: as replicas and front threads do.
TEST(Bell, SleeperSeesWhatWasPublishedBeforeTheRing) {
  constexpr uint64_t kRounds = 20'000;
  Bell bell;
  std::atomic<uint64_t> published[2] = {0, 0};
  std::vector<std::thread> ringers;
  for (auto& mine : published) {
    ringers.emplace_back([&] {
      for (uint64_t i = 0; i < kRounds; ++i) {
        mine.fetch_add(1, std::memory_order_relaxed);
        bell.ringer().Ring();
        if (i % 64 == 0) std::this_thread::yield();  // let the sleeper fall asleep
      }
    });
  }
  auto sleeper = bell.sleeper();
  while (published[0].load(std::memory_order_relaxed) + published[1].load(std::memory_order_relaxed) <
         2 * kRounds) {
    const auto begin = std::chrono::steady_clock::now();
    sleeper.Wait(kNever);
    ASSERT_LT(std::chrono::steady_clock::now() - begin, kNever) << "the last ring was lost";
  }
  for (auto& ringer : ringers) ringer.join();
}

TEST(BellAttendant, IsRefusedWhileTheSleeperIsAwake) {
  Bell bell;
  EXPECT_FALSE(bell.attendant().Come());
  EXPECT_EQ(bell.sleeping, kAwake);
}

TEST(BellAttendant, IsRefusedWhileAnotherAttends) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto first = bell.attendant(), second = bell.attendant();
  EXPECT_TRUE(first.Come());
  EXPECT_FALSE(second.Come());
  EXPECT_EQ(bell.sleeping, kAttended);
  first.Go();
  EXPECT_TRUE(second.Come());
}

TEST(BellAttendant, StaysUntilItGoes) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto attendant = bell.attendant();
  EXPECT_TRUE(attendant.Come());
  EXPECT_TRUE(attendant.Come()) << "it attends already";
  attendant.Go();
  EXPECT_EQ(bell.sleeping, kAsleep);
}

TEST(BellAttendant, WaitsInVainForNoLongerThanItSays) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto attendant = bell.attendant();
  ASSERT_TRUE(attendant.Come());
  attendant.Looking();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(attendant.Wait(std::chrono::milliseconds(2), nanoseconds(0)), BellAttendant::Waited::kInVain);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2));
  EXPECT_EQ(bell.sleeping, kAttended);
}

TEST(BellAttendant, RingSinceTheLastLookEndsTheWaitAtOnce) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto attendant = bell.attendant();
  ASSERT_TRUE(attendant.Come());
  attendant.Looking();
  bell.ringer().Ring();
  EXPECT_EQ(attendant.Wait(kNever, nanoseconds(0)), BellAttendant::Waited::kRang);
}

TEST(BellAttendant, IsWokenInTheSleepersPlace) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto attendant = bell.attendant();
  ASSERT_TRUE(attendant.Come());
  attendant.Looking();
  std::thread ringing([&] {
    while (bell.sleeping != kAttendantAsleep) std::this_thread::yield();
    bell.ringer().Ring();
  });
  EXPECT_EQ(attendant.Wait(kNever, nanoseconds(0)), BellAttendant::Waited::kRang);
  ringing.join();
}

TEST(BellAttendant, DoesNotPutAnAwakenedSleeperToSleep) {
  Bell bell;
  bell.sleeping = kAsleep;
  auto attendant = bell.attendant();
  ASSERT_TRUE(attendant.Come());
  attendant.Looking();
  bell.sleeping = kAwake;  // its bounded sleep ended
  EXPECT_EQ(attendant.Wait(kNever, nanoseconds(0)), BellAttendant::Waited::kNoLonger);
  attendant.Go();
  EXPECT_EQ(bell.sleeping, kAwake);
  EXPECT_FALSE(attendant.Come());
}

// A sleeper, an attendant that comes, waits and goes, a ringer: whoever is told to look finds every ring's
// work.
TEST(BellAttendant, NoRingIsLostWhileAnAttendantComesAndGoes) {
  constexpr int kRounds = 3'000;
  Bell bell;
  std::atomic<int> published{0}, seen{0};
  std::atomic<bool> done{false};
  const auto look = [&] {
    const int now = published.load(std::memory_order_acquire);
    int before = seen.load();
    while (before < now && !seen.compare_exchange_weak(before, now)) {
    }
  };
  std::thread sleeping([&] {
    auto sleeper = bell.sleeper();
    while (!done) {
      sleeper.Wait(kNever);
      look();
    }
  });
  std::thread attending([&] {
    auto attendant = bell.attendant();
    for (int i = 0; !done; ++i) {
      if (attendant.Come()) {
        attendant.Looking();
        look();
        (void)attendant.Wait(std::chrono::microseconds(50), std::chrono::microseconds(i % 3));
        attendant.Looking();
        look();
        if (i % 4 == 0) {
          attendant.Go();
          look();
        }
      }
      std::this_thread::yield();
    }
    attendant.Go();
  });
  const auto begin = std::chrono::steady_clock::now();
  bool lost = false;
  for (int round = 1; round <= kRounds && !lost; ++round) {
    published.store(round, std::memory_order_release);
    bell.ringer().Ring();
    while (seen.load() < round && !lost) {
      std::this_thread::yield();
      lost = std::chrono::steady_clock::now() - begin > kNever;
    }
  }
  done = true;
  while (bell.sleeping != kAwake) {
    bell.ringer().Ring();
    std::this_thread::yield();
    if (std::chrono::steady_clock::now() - begin > kNever) break;
  }
  bell.ringer().Ring();
  attending.join();
  bell.ringer().Ring();
  sleeping.join();
  EXPECT_FALSE(lost) << "nobody looked after round " << seen;
}

TEST(UsableCpus, IsAtLeastOne) {
  EXPECT_GE(UsableCpus(), 1);
}

}  // namespace
}  // namespace zerohop

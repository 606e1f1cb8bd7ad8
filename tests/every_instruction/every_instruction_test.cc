// A replica killed after its k-th instruction, for k from where work wakes it
// to where it waits again: every request is answered once, and right.
//
// The replica is the real program; the router around it is the real one. One
// walk, instruction by instruction, finds the passage; then each k has a new
// process, which serves for a while before it is stopped and given its work.
// An ordinary run tries a spread of k, and every k near a step that others can
// see (a submission taken, a completion published, a bell rung). With
// ZEROHOP_EVERY_INSTRUCTION=all in the environment it tries all of them: some
// 16,000, minutes in Release. With sanitizers there are several times as many,
// more than the time limit of ctest allows: then start this program itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "tests/every_instruction/stepped_house.h"

namespace zerohop {
namespace {

constexpr uint64_t kSpread = 500;      // values of k, evenly over the passage
constexpr uint64_t kNearLandmark = 8;  // and so many on each side of a visible step
constexpr uint64_t kBeyond = 32;       // steps vary a little; what comes after the end is tried, too

bool TryAll() {
  const char* wish = std::getenv("ZEROHOP_EVERY_INSTRUCTION");
  return wish != nullptr && std::string(wish) == "all";
}

std::set<uint64_t> Choose(const Passage& passage) {
  const uint64_t last = passage.length() + kBeyond;
  std::set<uint64_t> chosen;
  for (uint64_t k = 0; TryAll() && k <= last; ++k) chosen.insert(k);
  for (uint64_t i = 0; i < kSpread; ++i) chosen.insert(i * last / (kSpread - 1));
  for (uint64_t landmark : passage.landmarks) {
    for (uint64_t k = landmark - std::min(landmark, kNearLandmark); k <= landmark + kNearLandmark; ++k) {
      chosen.insert(k);
    }
  }
  return chosen;
}

// How the requests fared when their replica died.
struct Tally {
  uint64_t trials = 0;
  uint64_t idle_again = 0;             // trials; the replica had done all
  uint64_t strayed = 0;                // trials
  uint64_t committed = 0;              // requests: the dead replica's completion counted
  uint64_t suspect = 0;                // requests: begun by it, and done again
  uint64_t untaken = 0;                // requests: not begun by it
  uint64_t committed_and_suspect = 0;  // trials with one of each
  uint64_t suspect_and_untaken = 0;

  void Count(const Trial& trial) {
    ++trials;
    idle_again += trial.idle_again;
    strayed += trial.strayed;
    committed += trial.published;
    suspect += trial.taken - trial.published;
    untaken += trial.posted - trial.taken;
    committed_and_suspect += trial.published > 0 && trial.taken > trial.published;
    suspect_and_untaken += trial.taken > trial.published && trial.posted > trial.taken;
  }
};

void Report(const char* what, const Passage& passage, const Tally& tally) {
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%s: %llu instructions, killed after %llu different numbers of them; all was done at %llu.\n"
      "  Requests: %llu answered by the dead replica, %llu begun by it and done again, %llu not begun.\n"
      "  Paths that differed from the first: %llu. Visible steps:",
      what, number(passage.length()), number(tally.trials), number(tally.idle_again), number(tally.committed),
      number(tally.suspect), number(tally.untaken), number(tally.strayed));
  for (uint64_t landmark : passage.landmarks) std::printf(" %llu", number(landmark));
  std::printf("\n");
  std::fflush(stdout);
}

Tally KillEverywhere(const char* what, const Work& work) {
  SteppedHouse house;
  const Passage passage = house.Walk(work);
  Tally tally;
  for (uint64_t k : Choose(passage)) {
    SCOPED_TRACE("killed after instruction " + std::to_string(k) + " of " + std::to_string(passage.length()));
    // Once wrong, the house is no longer what the next k would need.
    if (testing::Test::HasFailure()) break;
    tally.Count(house.KillAfter(k, work, passage));
  }
  Report(what, passage, tally);
  if (testing::Test::HasFailure()) return tally;
  house.ExpectEmptyArenas();
  EXPECT_GE(tally.trials, kSpread);
  EXPECT_GT(tally.committed, 0u);
  EXPECT_GT(tally.suspect, 0u);
  EXPECT_GT(tally.untaken, 0u);
  EXPECT_GT(tally.idle_again, 0u);
  EXPECT_LT(tally.strayed, tally.trials / 10) << "k means another instruction each time";
  return tally;
}

TEST(EveryInstruction, RequestIsAnsweredOnceWhereverItsReplicaDies) {
  KillEverywhere("one request", {.prompts = {3}});
}

TEST(EveryInstruction, TwoRequestsAreAnsweredOnceWhereverTheReplicaOfBothDies) {
  const Tally tally =
      KillEverywhere("two at once", {.prompts = {1, 2}, .at_once = 2, .survivor_is_busy = true});
  EXPECT_GT(tally.committed_and_suspect, 0u);
  EXPECT_GT(tally.suspect_and_untaken, 0u);
}

TEST(EveryInstruction, RequestBehindARunningOneIsAnsweredOnceWhereverTheirReplicaDies) {
  const Tally tally = KillEverywhere("one behind another", {.prompts = {2, 1}, .survivor_is_busy = true});
  EXPECT_GT(tally.committed_and_suspect, 0u);
  EXPECT_GT(tally.suspect_and_untaken, 0u);
}

}  // namespace
}  // namespace zerohop

#include "broker/router/placement.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace zerohop {
namespace {

constexpr Policy kAll[] = {Policy::kSharedQueue, Policy::kRoundRobin, Policy::kLeastLoaded, Policy::kRandom,
                           Policy::kPowerOfTwo};

// How often each replica was chosen in `turns` choices among the same candidates.
std::map<uint32_t, int> Choices(Policy policy, const std::vector<Candidate>& candidates, int turns) {
  Placement placement(policy);
  std::map<uint32_t, int> chosen;
  for (int i = 0; i < turns; ++i) ++chosen[placement.Choose(candidates)];
  return chosen;
}

TEST(Placement, EveryPolicyIsParsedByItsName) {
  for (Policy policy : kAll) EXPECT_EQ(ParsePolicy(Name(policy)), policy);
  EXPECT_EQ(Name(Policy::kSharedQueue), "shared_queue");
  EXPECT_EQ(Name(Policy::kPowerOfTwo), "power_of_two");
  EXPECT_EQ(ParsePolicy("sharedqueue"), std::nullopt);
  EXPECT_EQ(ParsePolicy(""), std::nullopt);
}

TEST(Placement, OnlyCandidateIsChosenByEveryPolicy) {
  for (Policy policy : kAll) EXPECT_EQ(Choices(policy, {{7, 1000}}, 20).at(7), 20) << Name(policy);
}

TEST(Placement, RoundRobinTakesTurnsWhateverTheLoad) {
  EXPECT_EQ(Choices(Policy::kRoundRobin, {{0, 9}, {1, 0}, {3, 5}}, 30),
            (std::map<uint32_t, int>{{0, 10}, {1, 10}, {3, 10}}));
}

TEST(Placement, LeastLoadedChoosesTheLeastAndTheFirstOfEquals) {
  Placement placement(Policy::kLeastLoaded);
  EXPECT_EQ(placement.Choose(std::vector<Candidate>{{0, 9}, {1, 3}, {2, 5}}), 1u);
  EXPECT_EQ(placement.Choose(std::vector<Candidate>{{4, 3}, {5, 3}}), 4u);
}

TEST(Placement, RandomReachesAllAboutEqually) {
  const auto chosen = Choices(Policy::kRandom, {{0, 0}, {1, 900}, {2, 0}}, 3000);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_NEAR(chosen.at(i), 1000, 200) << i;
}

TEST(Placement, PowerOfTwoNeverChoosesTheMostLoadedOfThree) {
  const auto chosen = Choices(Policy::kPowerOfTwo, {{0, 1}, {1, 900}, {2, 2}}, 3000);
  EXPECT_EQ(chosen.count(1), 0u) << "two different ones are compared";
  EXPECT_NEAR(chosen.at(0), 2000, 300) << "in two of three pairs";
  EXPECT_NEAR(chosen.at(2), 1000, 300);
}

}  // namespace
}  // namespace zerohop

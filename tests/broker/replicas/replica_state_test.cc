#include "broker/replicas/replica_state.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace zerohop {
namespace {

using enum ReplicaState;

constexpr ReplicaState kStates[] = {kWaiting, kLoading, kServing, kKilled, kDraining, kEnding, kStopped};
constexpr ReplicaEvent kEvents[] = {ReplicaEvent::kSpawned, ReplicaEvent::kReady, ReplicaEvent::kKill,
                                    ReplicaEvent::kDrain, ReplicaEvent::kExited};

// The table at the head of replica_state.h, row by row.
constexpr ReplicaState kTable[7][5] = {
    // kSpawned, kReady, kKill, kDrain, kExited
    {kLoading, kWaiting, kWaiting, kStopped, kWaiting},    // kWaiting
    {kLoading, kServing, kKilled, kDraining, kWaiting},    // kLoading
    {kServing, kServing, kKilled, kDraining, kWaiting},    // kServing
    {kKilled, kKilled, kKilled, kEnding, kWaiting},        // kKilled
    {kDraining, kDraining, kEnding, kDraining, kStopped},  // kDraining
    {kEnding, kEnding, kEnding, kEnding, kStopped},        // kEnding
    {kStopped, kStopped, kStopped, kStopped, kStopped},    // kStopped
};

TEST(ReplicaState, FollowsItsTable) {
  for (size_t s = 0; s < 7; ++s) {
    for (size_t e = 0; e < 5; ++e) {
      EXPECT_EQ(Next(kStates[s], kEvents[e]), kTable[s][e]) << Name(kStates[s]) << ", event " << e;
    }
  }
}

TEST(ReplicaState, OnlyExitEndsAProcessThatRuns) {
  for (ReplicaState running : {kLoading, kServing, kKilled, kDraining, kEnding}) {
    for (ReplicaEvent event : kEvents) {
      const ReplicaState next = Next(running, event);
      const bool gone = next == kWaiting || next == kStopped;
      EXPECT_EQ(gone, event == ReplicaEvent::kExited) << Name(running);
    }
  }
}

TEST(ReplicaState, DrainAlwaysLeadsToStopped) {
  for (ReplicaState from : kStates) {
    const ReplicaState drained = Next(from, ReplicaEvent::kDrain);
    EXPECT_EQ(Next(drained, ReplicaEvent::kExited), kStopped) << Name(from);
    EXPECT_EQ(Next(Next(drained, ReplicaEvent::kKill), ReplicaEvent::kExited), kStopped) << Name(from);
  }
}

TEST(ReplicaState, EveryStateHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (ReplicaState state : kStates) names.insert(Name(state));
  EXPECT_EQ(names.size(), 7u);
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace zerohop

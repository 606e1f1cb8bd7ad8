#pragma once

// Placement: which replica a shard goes to.
//
// shared_queue binds late: shards wait in one queue and a lane with credit
// takes the next. The others bind at once, as the gRPC-hop deployments do:
// each lane has a queue of its own.

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string_view>

namespace zerohop {

enum class Policy { kSharedQueue, kRoundRobin, kLeastLoaded, kRandom, kPowerOfTwo };

std::optional<Policy> ParsePolicy(std::string_view name);
std::string_view Name(Policy policy);
// Whether it gives work to those that have less of it.
bool LooksAtLoad(Policy policy);

// One candidate: a replica that serves, and its work, in flight and waiting, in tokens.
struct Candidate {
  uint32_t replica = 0;
  uint64_t tokens = 0;
};

// Guarded by the dispatch lock.
class Placement {
 public:
  explicit Placement(Policy policy, uint64_t seed = 1) : policy_(policy), random_(seed) {}

  Policy policy() const { return policy_; }
  // For the policies that bind at once; `candidates` by replica, not empty.
  uint32_t Choose(std::span<const Candidate> candidates);

 private:
  uint32_t LessLoaded(const Candidate& a, const Candidate& b) const {
    return b.tokens < a.tokens ? b.replica : a.replica;
  }

  const Policy policy_;
  uint64_t turn_ = 0;
  std::minstd_rand random_;
};

}  // namespace zerohop

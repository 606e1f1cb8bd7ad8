#include "broker/router/placement.h"

#include <algorithm>
#include <array>
#include <utility>

namespace zerohop {
namespace {

constexpr std::array<std::pair<std::string_view, Policy>, 5> kNames{{{"shared_queue", Policy::kSharedQueue},
                                                                     {"round_robin", Policy::kRoundRobin},
                                                                     {"least_loaded", Policy::kLeastLoaded},
                                                                     {"random", Policy::kRandom},
                                                                     {"power_of_two", Policy::kPowerOfTwo}}};

}  // namespace

std::optional<Policy> ParsePolicy(std::string_view name) {
  for (const auto& [known, policy] : kNames) {
    if (known == name) return policy;
  }
  return std::nullopt;
}

std::string_view Name(Policy policy) {
  return kNames[static_cast<size_t>(policy)].first;
}

bool LooksAtLoad(Policy policy) {
  return policy != Policy::kRoundRobin && policy != Policy::kRandom;
}

uint32_t Placement::Choose(std::span<const Candidate> candidates) {
  const size_t n = candidates.size();
  switch (policy_) {
    case Policy::kSharedQueue:
    case Policy::kLeastLoaded:
      return std::min_element(candidates.begin(), candidates.end(),
                              [](const Candidate& a, const Candidate& b) { return a.tokens < b.tokens; })
          ->replica;
    case Policy::kRoundRobin:
      return candidates[turn_++ % n].replica;
    case Policy::kRandom:
      return candidates[random_() % n].replica;
    case Policy::kPowerOfTwo: {
      const size_t a = random_() % n;
      const size_t b = n == 1 ? a : (a + 1 + random_() % (n - 1)) % n;
      return LessLoaded(candidates[a], candidates[b]);
    }
  }
  return candidates[0].replica;
}

}  // namespace zerohop

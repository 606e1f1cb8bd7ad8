#pragma once

// PollTimeout: a point in time as poll(2) takes it.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace zerohop {

// Milliseconds from now, rounded up, so that it is over when poll returns 0. Of time_point::max() -1: for
// ever.
inline int PollTimeout(std::chrono::steady_clock::time_point until) {
  if (until == std::chrono::steady_clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, std::numeric_limits<int>::max()));
}

}  // namespace zerohop

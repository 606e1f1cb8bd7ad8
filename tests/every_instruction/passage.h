#pragma once

// Passage: the instructions of a replica from where work wakes it to where it
// waits again, as one walk through them found them; and how another replica
// gets to the k-th of them without a stop at each one before.

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/every_instruction/code_map.h"

namespace zerohop {

class Passage {
 public:
  // The instruction that comes next: its address, and where that is in any process.
  void Append(uint64_t address, CodePlace place) {
    const auto [met, first] = last_.try_emplace(address, places_.size());
    met_before_.push_back(first ? kNever : std::exchange(met->second, places_.size()));
    places_.push_back(std::move(place));
  }

  // Instructions; number `length()` is the first of the wait.
  uint64_t length() const { return places_.size() - 1; }
  const CodePlace& place(uint64_t k) const { return places_[k]; }

  // The farthest instruction up to `to` that who stands at `from` can run to: the address is met there first.
  // `from` where there is none.
  uint64_t FarthestStop(uint64_t from, uint64_t to) const {
    uint64_t stop = std::min(to, length());
    while (stop > from && met_before_[stop] != kNever && met_before_[stop] >= from) --stop;
    return std::max(stop, from);
  }

  // After which of them something changed that others can see.
  std::vector<uint64_t> landmarks;
  // After which of them each later request was posted.
  std::vector<uint64_t> postings;

 private:
  static constexpr uint64_t kNever = ~uint64_t{0};

  std::vector<CodePlace> places_;
  std::vector<uint64_t> met_before_;             // at which instruction its address was met last
  std::unordered_map<uint64_t, uint64_t> last_;  // by address
};

}  // namespace zerohop

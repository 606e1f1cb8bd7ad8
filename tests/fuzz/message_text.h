#pragma once

// What the fuzzers of messages (shm/json_fields.h) check of a text for people: on
// its way into a message, and on its way to the other side.

#include <string>

#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_check.h"

namespace zerohop {

// The headers of messages promise packets that fit; these are the lengths by which they keep it.
inline constexpr size_t kMostReason = 2 << 10;
inline constexpr size_t kMostName = 256;

// As it was where it was clean, else made so.
inline void CheckText(const std::string& sent, const std::string& got) {
  FUZZ_CHECK(IsCleanText(got) && got.size() <= kMostReason);
  FUZZ_CHECK(got == sent || !IsCleanText(sent) || sent.size() > kMostReason);
}

// Whole, or cut between two characters where it is long; the last may have four bytes.
inline void CheckSameName(const std::string& sent, const std::string& got) {
  FUZZ_CHECK(IsCleanText(got));
  if (sent.size() <= kMostName) {
    FUZZ_CHECK(got == sent);
  } else {
    FUZZ_CHECK(got.size() > kMostName - 4 && got.size() <= kMostName && sent.starts_with(got));
  }
}

}  // namespace zerohop

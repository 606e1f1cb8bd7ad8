#pragma once

// What a completion must be before anyone believes it. The completion is a
// copy; `expected` is the broker's own record of what it submitted.

#include <string_view>

#include "shm/lane_format.h"

namespace zerohop {

enum class [[nodiscard]] CompletionVerdict{
    kGood,
    kNoSuchSlot,     // slot beyond the table, or nothing in flight there
    kForeignCookie,  // not the submission in that slot: old, or invented
    kBadStatus,      // no CompletionStatus
    kBadRows,        // other rows than were asked for
    kBadDetail,      // longer than the response region, or a prompt that was not submitted
};

// Floats cannot be vouched for: the region's bytes are not looked at. `expected` is null when the slot is
// empty.
constexpr CompletionVerdict Check(const Completion& completion, const Submission* expected) {
  if (expected == nullptr) return CompletionVerdict::kNoSuchSlot;
  if (completion.cookie != expected->cookie) return CompletionVerdict::kForeignCookie;
  if (completion.detail_length > expected->response_length) return CompletionVerdict::kBadDetail;
  switch (static_cast<CompletionStatus>(completion.status)) {
    case CompletionStatus::kOk:
      return completion.rows == expected->rows && completion.detail_length == 0 ? CompletionVerdict::kGood
                                                                                : CompletionVerdict::kBadRows;
    case CompletionStatus::kRejected:
    case CompletionStatus::kFailed:
      if (completion.failed_prompt >= expected->rows) return CompletionVerdict::kBadDetail;
      return completion.rows == 0 ? CompletionVerdict::kGood : CompletionVerdict::kBadRows;
    case CompletionStatus::kWithdrawn:
      return completion.rows == 0 ? CompletionVerdict::kGood : CompletionVerdict::kBadRows;
  }
  return CompletionVerdict::kBadStatus;
}

constexpr std::string_view Describe(CompletionVerdict verdict) {
  switch (verdict) {
    case CompletionVerdict::kGood:
      return "good";
    case CompletionVerdict::kNoSuchSlot:
      return "completes what was not submitted";
    case CompletionVerdict::kForeignCookie:
      return "carries a foreign cookie";
    case CompletionVerdict::kBadStatus:
      return "has no known status";
    case CompletionVerdict::kBadRows:
      return "has another number of rows";
    case CompletionVerdict::kBadDetail:
      return "has a detail that cannot be";
  }
  return "unknown";
}

}  // namespace zerohop

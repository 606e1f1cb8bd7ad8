#include "replica_shim/lane_work.h"

#include <algorithm>

#include "replica_shim/crash_point.h"
#include "shm/printable.h"
#include "shm/row.h"

namespace zerohop {

SubmissionReader::SubmissionReader(const ReplicaLane& lane, const Submission& submission, uint32_t dim)
    : submission_(submission),
      row_(reinterpret_cast<float*>(lane.response(submission).data())),
      block_(lane.request(submission), submission.rows),
      possible_(submission.dim == dim &&
                lane.response(submission).size() == submission.rows * RowBytes(dim) &&
                submission.kind <= static_cast<uint32_t>(PromptKind::kTokenIds)) {}

bool SubmissionReader::Next(Prompt* prompt) {
  std::span<const std::byte> bytes;
  if (!possible_ || !block_.Next(&bytes)) return false;
  prompt->kind = static_cast<PromptKind>(submission_.kind);
  if (prompt->kind == PromptKind::kText) {
    prompt->text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } else {
    prompt->token_ids = {reinterpret_cast<const int32_t*>(bytes.data()), bytes.size() / sizeof(int32_t)};
  }
  prompt->row = {row_, submission_.dim};
  row_ += submission_.dim;
  return true;
}

bool NobodyWaitsFor(const ReplicaLane& lane, const Submission& submission,
                    std::chrono::steady_clock::time_point now) {
  const int64_t deadline = submission.deadline_monotonic_ns;
  const int64_t now_ns = std::chrono::nanoseconds(now.time_since_epoch()).count();  // CLOCK_MONOTONIC
  return lane.Withdrawn(submission) || (deadline != 0 && deadline <= now_ns);
}

absl::Status PublishEnd(ReplicaLane& lane, const Submission& submission, const SubmissionEnd& end) {
  Completion completion{};
  completion.cookie = submission.cookie;
  completion.slot = submission.slot;
  completion.status = static_cast<uint32_t>(end.status);
  completion.rows = end.status == CompletionStatus::kOk ? submission.rows : 0;
  completion.failed_prompt = end.failed_prompt;
  completion.tokens = end.tokens;
  completion.busy_ns = end.busy_ns;
  if (!end.detail.empty()) {
    const auto response = lane.response(submission);
    // There may be room for a few words only: cut between characters.
    const std::string detail = Printable(end.detail, std::min<size_t>(response.size(), kMaxDetailBytes));
    completion.detail_length = static_cast<uint32_t>(detail.size());
    std::copy_n(reinterpret_cast<const std::byte*>(detail.data()), detail.size(), response.data());
  }
  CrashPoint("publishing");
  if (lane.Complete(completion) != RingResult::kDone) {
    return absl::InternalError("the completion ring has no room for an answer that the broker waits for");
  }
  return absl::OkStatus();
}

}  // namespace zerohop

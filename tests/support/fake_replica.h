#pragma once

// FakeReplica: the replica's end of a lane, played by the test: takes
// submissions and completes them as the test says. One thread at a time.

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/prompt_block.h"
#include "tests/support/known_rows.h"
#include "tests/support/lane_pair.h"

namespace zerohop {

inline Completion CompletionOf(const Submission& submission, CompletionStatus status) {
  Completion completion{};
  completion.cookie = submission.cookie;
  completion.slot = submission.slot;
  completion.status = static_cast<uint32_t>(status);
  completion.rows = status == CompletionStatus::kOk ? submission.rows : 0;
  return completion;
}

class FakeReplica {
 public:
  FakeReplica(const BrokerLane& lane, const BrokerBell& bell) : lane_(AttachTo(lane, bell)) {}

  std::optional<Submission> TakeOne() {
    Submission submission;
    if (lane_.TakeSubmission(&submission) != RingResult::kDone) return std::nullopt;
    return submission;
  }
  std::vector<Submission> TakeAll() {
    std::vector<Submission> all;
    while (auto one = TakeOne()) all.push_back(*one);
    return all;
  }

  std::vector<std::string> Prompts(const Submission& submission) const {
    PromptBlockReader block(lane_.request(submission), submission.rows);
    std::vector<std::string> prompts;
    for (std::span<const std::byte> bytes; block.Next(&bytes);) {
      prompts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return prompts;
  }

  void WriteRows(const Submission& submission) {
    const std::string rows = KnownRows(Prompts(submission), submission.dim);
    std::memcpy(lane_.response(submission).data(), rows.data(), rows.size());
  }
  // `busy`: what the engine took, as it says.
  void Answer(const Submission& submission, std::chrono::nanoseconds busy = std::chrono::nanoseconds(0)) {
    WriteRows(submission);
    Completion completion = CompletionOf(submission, CompletionStatus::kOk);
    completion.busy_ns = static_cast<uint64_t>(busy.count());
    Publish(completion);
  }
  void Answer(const std::vector<Submission>& submissions) {
    for (const Submission& one : submissions) Answer(one);
  }
  // The oldest that waits, of which there must be one.
  void AnswerOne(std::chrono::nanoseconds busy) { Answer(TakeOne().value(), busy); }
  size_t AnswerAll() {
    const auto all = TakeAll();
    Answer(all);
    return all.size();
  }
  // Ends without rows: rejected, failed or withdrawn.
  void Refuse(const Submission& submission, CompletionStatus status, std::string_view detail,
              uint32_t prompt = 0) {
    std::memcpy(lane_.response(submission).data(), detail.data(), detail.size());
    Completion completion = CompletionOf(submission, status);
    completion.detail_length = static_cast<uint32_t>(detail.size());
    completion.failed_prompt = prompt;
    Publish(completion);
  }
  void Publish(const Completion& completion) {
    if (lane_.Complete(completion) != RingResult::kDone) throw std::runtime_error("no room for a completion");
    lane_.RingBroker();
  }

  ReplicaLane& lane() { return lane_; }

 private:
  ReplicaLane lane_;
};

}  // namespace zerohop

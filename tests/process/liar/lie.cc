#include "tests/process/liar/lie.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "shm/prompt_block.h"
#include "shm/row.h"

namespace zerohop {

bool Trigger::Pulled() const {
  return ::access(path_.c_str(), F_OK) == 0;
}

void Trigger::Await(bool pulled) const {
  while (Pulled() != pulled) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Confess() {
  static std::atomic<bool> told{false};
  static constexpr char kWord[] = "lied\n";
  if (!told.exchange(true)) (void)!::write(STDERR_FILENO, kWord, sizeof kWord - 1);
}

bool Hand::Take(Submission* submission) {
  HeartbeatWriter heartbeat = stage_.lane.heartbeat();
  if (stage_.lane.TakeSubmission(submission) == RingResult::kDone) {
    heartbeat.Enter(Phase::kRunning);
    return true;
  }
  heartbeat.Enter(Phase::kIdle);
  stage_.lane.WaitForWork(std::chrono::milliseconds(20));
  return false;
}

Completion Hand::Answer(const Submission& submission, Rows wanted) {
  PromptBlockReader block(stage_.lane.request(submission), submission.rows);
  auto* rows = reinterpret_cast<float*>(stage_.lane.response(submission).data());
  std::vector<Prompt> prompts(submission.rows);
  std::vector<Prompt*> batch;
  for (uint32_t i = 0; i < submission.rows; ++i) {
    std::span<const std::byte> bytes;
    (void)block.Next(&bytes);
    prompts[i].text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    if (stage_.rows != nullptr) {
      prompts[i].device_row = stage_.rows->at(submission.response_offset + i * RowBytes(submission.dim));
    } else {
      prompts[i].row = {rows + size_t{i} * submission.dim, submission.dim};
    }
    batch.push_back(&prompts[i]);
  }
  (void)stage_.engine.Run(batch);
  if (stage_.rows != nullptr) (void)stage_.rows->Begin(submission);
  if (stage_.rows != nullptr && wanted == Rows::kThere) (void)stage_.rows->Land();
  Completion completion{};
  completion.cookie = submission.cookie;
  completion.slot = submission.slot;
  completion.rows = submission.rows;
  return completion;
}

bool Hand::Publish(const Completion& completion) {
  const bool done = stage_.lane.Complete(completion) == RingResult::kDone;
  stage_.lane.RingBroker();
  return done;
}

}  // namespace zerohop

#include "replica_shim/concurrent_worker.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;
// While something is with the engine: how soon it learns that nobody waits any more.
constexpr std::chrono::milliseconds kBetweenLooks(10);
// What an engine gets to let go of tasks when the broker is gone.
constexpr std::chrono::seconds kLetGo(30);

}  // namespace

ConcurrentWorker::ConcurrentWorker(ReplicaLane& lane, ConcurrentEngine& engine, const EngineInfo& info,
                                   std::chrono::nanoseconds step, std::function<Orders()> orders)
    : lane_(lane), engine_(engine), info_(info), step_(step), orders_(std::move(orders)) {}

absl::Status ConcurrentWorker::Serve() {
  absl::Status ended = ServeUntilTold();
  {
    std::lock_guard lock(lock_);
    why_ended_ = std::string(ended.message());
  }
  if (!EngineLetsGo()) {
    std::fprintf(stderr, "the engine does not let go of work that it was told to cancel\n");
    ::_exit(1);  // the lane is still in use: no destructor may touch it
  }
  // A lane that was fenced meanwhile looks corrupt, and nobody waits for it any more.
  return orders_() == Orders::kLeave ? absl::OkStatus() : ended;
}

absl::Status ConcurrentWorker::ServeUntilTold() {
  looked_at_ = Clock::now();
  for (;;) {
    const Orders orders = orders_();
    if (orders == Orders::kLeave) return absl::OkStatus();
    if (absl::Status taken = TakeSubmissions(); !taken.ok()) return taken;
    if (absl::Status hang = LookForAHang(Clock::now()); !hang.ok()) return hang;
    CancelWithdrawn();
    const bool idle = Idle();
    if (idle && orders == Orders::kDrain && !lane_.HasSubmission()) return absl::OkStatus();
    lane_.WaitForWork(idle ? kLongestSleep : kBetweenLooks);
  }
}

absl::Status ConcurrentWorker::TakeSubmissions() {
  Submission submission;
  while (orders_() != Orders::kLeave) {
    const RingResult taken = lane_.TakeSubmission(&submission);
    if (taken == RingResult::kCorrupt) return absl::InternalError("the submission ring is corrupt");
    if (taken != RingResult::kDone) break;
    Accept(submission);
  }
  std::lock_guard lock(lock_);
  return broken_;
}

void ConcurrentWorker::Accept(const Submission& submission) {
  SubmissionReader reader(lane_, submission, info_.dim);
  std::vector<Prompt> prompts(reader.possible() ? submission.rows : 0);
  bool whole = reader.possible();
  for (Prompt& prompt : prompts) whole = whole && reader.Next(&prompt);
  const auto task = std::make_shared<Task>(submission, std::move(prompts),
                                           [this](Task& t, SubmissionEnd end) { Finish(t, std::move(end)); });
  {
    std::lock_guard lock(lock_);
    // Before the engine, which may keep us. More work is no progress.
    if (tasks_.empty()) {
      lane_.heartbeat().Enter(Phase::kRunning);
      looked_at_ = Clock::now();
    }
    tasks_.push_back({task});
  }
  if (NobodyWaitsFor(lane_, submission, Clock::now())) {
    task->Finish({.status = CompletionStatus::kWithdrawn});
  } else if (!whole) {
    task->Finish(
        {.status = CompletionStatus::kFailed, .detail = "the submission names bytes outside its lane"});
  } else {
    engine_.Begin(task);
  }
}

void ConcurrentWorker::CancelWithdrawn() {
  const Clock::time_point now = Clock::now();
  Cancel([&](const Task& task) { return NobodyWaitsFor(lane_, task.submission(), now); });
}

// Tells the engine, once of each task.
void ConcurrentWorker::Cancel(const std::function<bool(const Task&)>& which) {
  std::vector<std::shared_ptr<Task>> news;
  {
    std::lock_guard lock(lock_);
    for (Held& held : tasks_) {
      if (held.cancelled || !which(*held.task)) continue;
      held.cancelled = true;
      news.push_back(held.task);
    }
  }
  for (const auto& task : news) engine_.Cancel(task);
}

void ConcurrentWorker::Finish(Task& task, SubmissionEnd end) {
  std::lock_guard lock(lock_);
  if (end.status == CompletionStatus::kWithdrawn && !NobodyWaitsFor(lane_, task.submission(), Clock::now())) {
    end = {.status = CompletionStatus::kFailed,
           .detail = why_ended_.empty() ? "the engine has dropped it" : why_ended_};
  }
  if (absl::Status published = PublishEnd(lane_, task.submission(), end); !published.ok())
    broken_ = published;
  lane_.RingBroker();
  std::erase_if(tasks_, [&](const auto& held) { return held.task.get() == &task; });
  if (end.status != CompletionStatus::kWithdrawn) {
    fruitless_ = {};
    lane_.heartbeat().Progress();
  }
  if (!tasks_.empty()) return;
  lane_.heartbeat().Enter(Phase::kIdle);
  none_left_.notify_all();
}

absl::Status ConcurrentWorker::LookForAHang(Clock::time_point now) {
  std::lock_guard lock(lock_);
  const Clock::duration since = now - std::exchange(looked_at_, now);
  if (tasks_.empty()) return absl::OkStatus();
  fruitless_ += since;
  if (fruitless_ <= step_) return absl::OkStatus();
  char hang[100];
  std::snprintf(hang, sizeof hang, "hang: the engine has had work for %.3g s and finished none",
                std::chrono::duration<double>(fruitless_).count());
  return absl::InternalError(hang);
}

bool ConcurrentWorker::EngineLetsGo() {
  Cancel([](const Task&) { return true; });
  std::unique_lock lock(lock_);
  return none_left_.wait_for(lock, kLetGo, [&] { return tasks_.empty(); });
}

bool ConcurrentWorker::Idle() {
  std::lock_guard lock(lock_);
  // Progress only while nothing is with the engine: otherwise its finishing is what counts.
  if (tasks_.empty()) lane_.heartbeat().Enter(Phase::kIdle);
  return tasks_.empty();
}

}  // namespace zerohop

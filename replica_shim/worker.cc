#include "replica_shim/worker.h"

#include <algorithm>
#include <chrono>

#include "replica_shim/crash_point.h"
#include "shm/row.h"

namespace zerohop {
namespace {

using Clock = Worker::Clock;
constexpr size_t kBatchesAhead = 8;       // prompts taken before they run, to choose from
constexpr size_t kTokenizeTogether = 32;  // texts a Tokenize call; more gain nothing

int64_t Nanoseconds(Clock::duration d) {
  return std::chrono::nanoseconds(d).count();
}

// Only what the engine calls invalid is the caller's mistake; anything else another replica may do better.
CompletionStatus OutcomeOf(const absl::Status& failure) {
  return absl::IsInvalidArgument(failure) ? CompletionStatus::kRejected : CompletionStatus::kFailed;
}

}  // namespace

Worker::Worker(ReplicaLane& lane, Engine& engine, const EngineInfo& info, std::function<Orders()> orders,
               DeviceRows* rows)
    : lane_(lane), engine_(engine), info_(info), orders_(std::move(orders)), rows_(rows) {}

absl::Status Worker::Serve() {
  absl::Status ended = ServeUntilTold();
  // A lane that was fenced meanwhile looks corrupt, and nobody waits for it any more.
  return orders_() == Orders::kLeave ? absl::OkStatus() : ended;
}

absl::Status Worker::ServeUntilTold() {
  HeartbeatWriter heartbeat = lane_.heartbeat();
  heartbeat.Enter(Phase::kIdle);
  for (;;) {
    const Orders orders = orders_();
    if (orders == Orders::kLeave) return absl::OkStatus();
    if (absl::Status taken = TakeSubmissions(); !taken.ok()) return taken;
    if (jobs_.empty()) {
      if (orders == Orders::kDrain && !lane_.HasSubmission()) return absl::OkStatus();
      heartbeat.Enter(Phase::kIdle);
      CrashPoint("idle");
      lane_.WaitForWork(kLongestSleep);
      continue;
    }
    heartbeat.Enter(Phase::kRunning);
    const Clock::time_point now = Clock::now();
    DropWithdrawn(now);
    if (const Clock::duration wait = TimeToWait(orders, now); wait.count() > 0) {
      lane_.WaitForWork(wait);
      continue;
    }
    uint64_t tokens = 0;
    if (absl::Status ran = RunBatch(&tokens); !ran.ok()) return ran;
    if (absl::Status landed = LandFinished(); !landed.ok()) return landed;
    LearnPass(tokens, now, Clock::now());
    if (absl::Status published = PublishFinished(); !published.ok()) return published;
  }
}

// For how long from now; zero where what is there shall run, or what has ended be published.
Clock::duration Worker::TimeToWait(Orders orders, Clock::time_point now) {
  if (orders != Orders::kServe || pool_.size() >= info_.batch_prompts) return {};
  uint64_t tokens = 0;
  for (const Waiting& w : pool_) tokens += w.prompt.length;
  if (tokens >= info_.batch_tokens || AnyFinished()) return {};
  return linger_.TimeToWait(pool_.size(), now);
}

bool Worker::AnyFinished() const {
  return std::any_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.finished(); });
}

// Of a pass over so many tokens, before its answers leave; 0: it failed, and its prompts ran one by one. What
// runs on a device is done only once it has landed: then a pass took as long as it seems if the one before
// had landed, too.
void Worker::LearnPass(uint64_t tokens, Clock::time_point begin, Clock::time_point end) {
  linger_.JudgeWait();
  if (tokens == 0) return;
  size_t submissions = 0, prompts = 0;
  for (const Job& job : jobs_) {
    if (!job.ok() || !job.finished()) continue;
    ++submissions;
    prompts += job.submission.rows;
  }
  const bool done = rows_ == nullptr || submissions > 0;
  if (done && device_is_done_) linger_.LearnPass(tokens, end - begin);
  device_is_done_ = done;
  if (submissions > 0) linger_.OnAnswered(submissions, prompts, lane_.WaitingSubmissions(), end);
}

absl::Status Worker::TakeSubmissions() {
  const size_t first_new = pool_.size();
  size_t submissions = 0;
  Submission submission;
  // Enough to choose from; the rest stays in the ring, where the broker can still withdraw it.
  while (pool_.size() < kBatchesAhead * size_t{info_.batch_prompts} && orders_() != Orders::kLeave) {
    const RingResult taken = lane_.TakeSubmission(&submission);
    if (taken == RingResult::kCorrupt) return absl::InternalError("the submission ring is corrupt");
    if (taken != RingResult::kDone) break;
    CrashPoint("took");
    Accept(submission);
    ++submissions;
  }
  linger_.OnTaken(submissions);
  TokenizeNew(first_new);
  return absl::OkStatus();
}

void Worker::Accept(const Submission& submission) {
  Job& job = jobs_.emplace_back();
  job.submission = submission;
  job.remaining = submission.rows;
  if (NobodyWaitsFor(lane_, submission, Clock::now())) {
    Fail(&job, CompletionStatus::kWithdrawn, 0, "");
  } else if (!AddPrompts(&job)) {
    Fail(&job, CompletionStatus::kFailed, 0, "the submission names bytes outside its lane");
  }
}

// False where the record is not possible; then no prompt of it stays in the pool.
bool Worker::AddPrompts(Job* job) {
  SubmissionReader reader(lane_, job->submission, info_.dim);
  if (!reader.possible()) return false;
  const size_t before = pool_.size();
  for (uint32_t i = 0; i < job->submission.rows; ++i) {
    Waiting& waiting = pool_.emplace_back();
    waiting.job = job;
    waiting.index = i;
    if (!reader.Next(&waiting.prompt)) {
      pool_.resize(before);
      return false;
    }
    if (rows_ == nullptr) continue;
    waiting.prompt.row = {};
    waiting.prompt.device_row = rows_->at(job->submission.response_offset + i * RowBytes(info_.dim));
  }
  return true;
}

void Worker::TokenizeNew(size_t first_new) {
  for (size_t from = first_new; from < pool_.size(); from += kTokenizeTogether) {
    const size_t to = std::min(pool_.size(), from + kTokenizeTogether);
    lane_.heartbeat().Enter(Phase::kRunning);  // a huge text takes its time, too
    std::vector<Prompt*> prompts;
    prompts.reserve(to - from);
    for (size_t i = from; i < to; ++i) prompts.push_back(&pool_[i].prompt);
    CrashPoint("tokenizing");
    if (engine_.Tokenize(prompts).ok()) continue;
    // One of them is not acceptable: ask singly, to tell which.
    for (size_t i = from; i < to; ++i) {
      Prompt* one = &pool_[i].prompt;
      const absl::Status status = engine_.Tokenize({&one, 1});
      if (status.ok()) continue;
      Fail(pool_[i].job, OutcomeOf(status), pool_[i].index, std::string(status.message()));
    }
  }
  // What failed above is dropped with the withdrawn.
}

void Worker::DropWithdrawn(Clock::time_point now) {
  for (Job& job : jobs_) {
    if (NobodyWaitsFor(lane_, job.submission, now)) Fail(&job, CompletionStatus::kWithdrawn, 0, "");
  }
  DropPromptsOfFailedJobs();
}

// Prompts of jobs that have ended, for whatever reason, do not run.
void Worker::DropPromptsOfFailedJobs() {
  std::erase_if(pool_, [](const Waiting& w) { return !w.job->ok(); });
}

// `tokens`: of the pass, where it did not fail. An error: the device is lost, and with it this process.
absl::Status Worker::RunBatch(uint64_t* tokens) {
  if (pool_.empty()) return absl::OkStatus();
  std::vector<uint32_t> lengths;
  lengths.reserve(pool_.size());
  for (const Waiting& w : pool_) lengths.push_back(w.prompt.length);
  std::vector<uint32_t> picked =
      PickBatch(lengths, {info_.batch_tokens, info_.batch_prompts, engine_.token_cost()});
  std::vector<Prompt*> batch;
  batch.reserve(picked.size());
  for (uint32_t i : picked) batch.push_back(&pool_[i].prompt);
  const Clock::time_point begin = Clock::now();
  CrashPoint("running");
  const bool ok = engine_.Run(batch).ok();
  CrashPoint("wrote_rows");
  const auto busy = static_cast<uint64_t>(Nanoseconds(Clock::now() - begin));
  if (ok) {
    for (uint32_t i : picked) {
      MarkRun(pool_[i], busy);
      *tokens += pool_[i].prompt.length;
    }
  } else {
    if (rows_ != nullptr) {
      if (absl::Status device = rows_->CheckDevice(); !device.ok()) return device;
    }
    RunOneByOne(picked);
  }
  // Erase what ran; the rest keeps its order.
  std::sort(picked.begin(), picked.end());
  size_t next = 0, kept = 0;
  for (size_t i = 0; i < pool_.size(); ++i) {
    if (next < picked.size() && picked[next] == i) {
      ++next;
    } else {
      if (kept != i) pool_[kept] = std::move(pool_[i]);
      ++kept;
    }
  }
  pool_.resize(kept);
  if (ok) return absl::OkStatus();
  DropPromptsOfFailedJobs();
  return rows_ != nullptr ? rows_->CheckDevice() : absl::OkStatus();
}

// A batch failed: run its prompts singly, so that only the one at fault pays.
void Worker::RunOneByOne(std::span<const uint32_t> picked) {
  for (uint32_t i : picked) {
    Waiting& waiting = pool_[i];
    if (!waiting.job->ok()) continue;
    Prompt* one = &waiting.prompt;
    const absl::Status status = engine_.Run({&one, 1});
    lane_.heartbeat().Progress();
    if (status.ok()) {
      MarkRun(waiting, 0);
    } else {
      Fail(waiting.job, OutcomeOf(status), waiting.index, std::string(status.message()));
    }
  }
}

void Worker::MarkRun(Waiting& waiting, uint64_t busy_ns) {
  Job& job = *waiting.job;
  --job.remaining;
  job.end.tokens += waiting.prompt.length;
  job.end.busy_ns = std::max(job.end.busy_ns, busy_ns);
}

void Worker::Fail(Job* job, CompletionStatus status, uint32_t prompt, std::string detail) {
  if (!job->ok()) return;  // the first reason is the reason
  job->end.status = status;
  job->end.failed_prompt = prompt;
  job->end.detail = std::move(detail);
}

// Rows on a device are there when the device says so; the broker looks as soon as a completion is published.
absl::Status Worker::LandFinished() {
  if (rows_ == nullptr) return absl::OkStatus();
  if (orders_() == Orders::kLeave)
    return absl::OkStatus();  // the lane may be fenced, which copies do not see
  std::vector<Job*> landing;
  for (Job& job : jobs_) {
    if (!job.ok() || !job.finished()) continue;
    if (absl::Status begun = rows_->Begin(job.submission); !begun.ok()) return begun;
    landing.push_back(&job);
  }
  if (landing.empty()) return absl::OkStatus();
  const Clock::time_point begin = Clock::now();
  absl::Status landed = rows_->Land();
  const auto busy = static_cast<uint64_t>(Nanoseconds(Clock::now() - begin));
  for (Job* job : landing) job->end.busy_ns += busy;  // Run returned before the device was done
  return landed;
}

absl::Status Worker::PublishFinished() {
  bool any = false;
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    if (!job->finished()) {
      ++job;
      continue;
    }
    if (absl::Status published = PublishEnd(lane_, job->submission, job->end); !published.ok()) {
      return published;
    }
    job = jobs_.erase(job);
    any = true;
  }
  if (any) {
    CrashPoint("published");
    lane_.RingBroker();
    CrashPoint("rang");
  }
  return absl::OkStatus();
}

}  // namespace zerohop

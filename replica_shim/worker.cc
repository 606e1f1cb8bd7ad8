#include "replica_shim/worker.h"

#include <algorithm>
#include <chrono>

#include "replica_shim/crash_point.h"
#include "shm/prompt_block.h"
#include "shm/row.h"

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;  // the clock of deadlines: CLOCK_MONOTONIC
constexpr std::chrono::milliseconds kLongestSleep(100);
constexpr size_t kBatchesAhead = 8;       // prompts taken before they run, to choose like lengths from
constexpr size_t kTokenizeTogether = 32;  // texts a Tokenize call; more gain nothing

int64_t Nanoseconds(Clock::duration d) {
  return std::chrono::nanoseconds(d).count();
}

}  // namespace

Worker::Worker(ReplicaLane& lane, Engine& engine, const EngineInfo& info, std::function<Orders()> orders)
    : lane_(lane), engine_(engine), info_(info), orders_(std::move(orders)) {}

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
    DropWithdrawn();
    RunBatch();
    if (absl::Status published = PublishFinished(); !published.ok()) return published;
  }
}

absl::Status Worker::TakeSubmissions() {
  const size_t first_new = pool_.size();
  Submission submission;
  // Enough to choose like lengths from; the rest stays in the ring, where the broker can still withdraw it.
  while (pool_.size() < kBatchesAhead * size_t{info_.batch_prompts} && orders_() != Orders::kLeave) {
    const RingResult taken = lane_.TakeSubmission(&submission);
    if (taken == RingResult::kCorrupt) return absl::InternalError("the submission ring is corrupt");
    if (taken != RingResult::kDone) break;
    CrashPoint("took");
    Accept(submission);
  }
  TokenizeNew(first_new);
  return absl::OkStatus();
}

// Withdrawn, or past its deadline.
bool Worker::NobodyWaitsFor(const Submission& submission, Clock::time_point now) const {
  const int64_t deadline = submission.deadline_monotonic_ns;
  return lane_.Withdrawn(submission) || (deadline != 0 && deadline <= Nanoseconds(now.time_since_epoch()));
}

void Worker::Accept(const Submission& submission) {
  Job& job = jobs_.emplace_back();
  job.submission = submission;
  job.remaining = submission.rows;
  if (NobodyWaitsFor(submission, Clock::now())) {
    Fail(&job, CompletionStatus::kWithdrawn, 0, "");
  } else if (!AddPrompts(&job)) {
    Fail(&job, CompletionStatus::kFailed, 0, "the submission names bytes outside its lane");
  }
}

// False where the record is not possible; then no prompt of it stays in the pool.
bool Worker::AddPrompts(Job* job) {
  const Submission& submission = job->submission;
  const auto request = lane_.request(submission);
  const auto response = lane_.response(submission);
  if (submission.dim != info_.dim || response.size() != submission.rows * RowBytes(submission.dim))
    return false;
  if (submission.kind > static_cast<uint32_t>(PromptKind::kTokenIds)) return false;
  PromptBlockReader block(request, submission.rows);
  const size_t before = pool_.size();
  for (uint32_t i = 0; i < submission.rows; ++i) {
    std::span<const std::byte> bytes;
    if (!block.Next(&bytes)) {
      pool_.resize(before);
      return false;
    }
    Waiting& waiting = pool_.emplace_back();
    waiting.job = job;
    waiting.index = i;
    waiting.prompt.kind = static_cast<PromptKind>(submission.kind);
    if (waiting.prompt.kind == PromptKind::kText) {
      waiting.prompt.text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    } else {
      waiting.prompt.token_ids = {reinterpret_cast<const int32_t*>(bytes.data()),
                                  bytes.size() / sizeof(int32_t)};
    }
    std::byte* row = response.data() + i * RowBytes(submission.dim);
    waiting.prompt.row = {BeginRow(row, submission.dim), submission.dim};
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
      // Only what the engine calls invalid is the caller's mistake; anything else another replica may do
      // better.
      const auto outcome =
          absl::IsInvalidArgument(status) ? CompletionStatus::kRejected : CompletionStatus::kFailed;
      Fail(pool_[i].job, outcome, pool_[i].index, std::string(status.message()));
    }
  }
  // What failed above is dropped with the withdrawn.
}

void Worker::DropWithdrawn() {
  const Clock::time_point now = Clock::now();
  for (Job& job : jobs_) {
    if (NobodyWaitsFor(job.submission, now)) Fail(&job, CompletionStatus::kWithdrawn, 0, "");
  }
  DropPromptsOfFailedJobs();
}

// Prompts of jobs that have ended, for whatever reason, do not run.
void Worker::DropPromptsOfFailedJobs() {
  std::erase_if(pool_, [](const Waiting& w) { return w.job->status != CompletionStatus::kOk; });
}

void Worker::RunBatch() {
  if (pool_.empty()) return;
  std::vector<uint32_t> lengths;
  lengths.reserve(pool_.size());
  for (const Waiting& w : pool_) lengths.push_back(static_cast<uint32_t>(w.prompt.tokens.size()));
  std::vector<uint32_t> picked = PickBatch(lengths, {info_.batch_tokens, info_.batch_prompts});
  std::vector<Prompt*> batch;
  batch.reserve(picked.size());
  for (uint32_t i : picked) batch.push_back(&pool_[i].prompt);
  const Clock::time_point begin = Clock::now();
  CrashPoint("running");
  const bool ok = engine_.Run(batch).ok();
  CrashPoint("wrote_rows");
  const auto busy = static_cast<uint64_t>(Nanoseconds(Clock::now() - begin));
  if (ok) {
    for (uint32_t i : picked) MarkRun(pool_[i], busy);
  } else {
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
  if (!ok) DropPromptsOfFailedJobs();
}

// A batch failed: run its prompts singly, so that only the one at fault pays.
void Worker::RunOneByOne(std::span<const uint32_t> picked) {
  for (uint32_t i : picked) {
    Waiting& waiting = pool_[i];
    if (waiting.job->status != CompletionStatus::kOk) continue;
    Prompt* one = &waiting.prompt;
    const absl::Status status = engine_.Run({&one, 1});
    lane_.heartbeat().Progress();
    if (status.ok()) {
      MarkRun(waiting, 0);
    } else {
      Fail(waiting.job, CompletionStatus::kFailed, waiting.index, std::string(status.message()));
    }
  }
}

void Worker::MarkRun(Waiting& waiting, uint64_t busy_ns) {
  Job& job = *waiting.job;
  --job.remaining;
  job.tokens += static_cast<uint32_t>(waiting.prompt.tokens.size());
  job.busy_ns = std::max(job.busy_ns, busy_ns);
}

void Worker::Fail(Job* job, CompletionStatus status, uint32_t prompt, std::string detail) {
  if (job->status != CompletionStatus::kOk) return;  // the first reason is the reason
  job->status = status;
  job->failed_prompt = prompt;
  job->detail = std::move(detail);
}

absl::Status Worker::PublishFinished() {
  bool any = false;
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    if (job->status == CompletionStatus::kOk && job->remaining > 0) {
      ++job;
      continue;
    }
    if (absl::Status published = Publish(*job); !published.ok()) return published;
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

absl::Status Worker::Publish(const Job& job) {
  Completion completion{};
  completion.cookie = job.submission.cookie;
  completion.slot = job.submission.slot;
  completion.status = static_cast<uint32_t>(job.status);
  completion.rows = job.status == CompletionStatus::kOk ? job.submission.rows : 0;
  completion.failed_prompt = job.failed_prompt;
  completion.tokens = job.tokens;
  completion.busy_ns = job.busy_ns;
  if (!job.detail.empty()) {
    const auto response = lane_.response(job.submission);
    completion.detail_length =
        static_cast<uint32_t>(std::min({job.detail.size(), response.size(), size_t{kMaxDetailBytes}}));
    std::copy_n(reinterpret_cast<const std::byte*>(job.detail.data()), completion.detail_length,
                response.data());
  }
  CrashPoint("publishing");
  if (lane_.Complete(completion) != RingResult::kDone) {
    return absl::InternalError("the completion ring has no room for an answer that the broker waits for");
  }
  return absl::OkStatus();
}

}  // namespace zerohop

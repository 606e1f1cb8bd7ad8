#pragma once

// Worker: takes submissions off the lane, runs their prompts through the
// engine in batches, and publishes each submission as soon as its last row is
// written. The replica's main thread; owns nothing shared.
//
// A submission is a job while it is here. Prompts of all jobs wait in one
// pool: a short query that is like the oldest prompt in length runs with it,
// instead of after all prompts of a long request.

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "replica_shim/batcher.h"
#include "replica_shim/device_rows.h"
#include "replica_shim/engine.h"
#include "replica_shim/lane_work.h"
#include "replica_shim/linger.h"
#include "replica_shim/orders.h"
#include "shm/lane.h"

namespace zerohop {

class Worker {
 public:
  using Clock = std::chrono::steady_clock;

  // `rows`: of an engine with a device, else null.
  Worker(ReplicaLane& lane, Engine& engine, const EngineInfo& info, std::function<Orders()> orders,
         DeviceRows* rows = nullptr);

  // Until the orders say drain or leave. InternalError when the lane is corrupt; the caller exits.
  absl::Status Serve();

 private:
  struct Job;
  struct Waiting {
    Prompt prompt;
    Job* job = nullptr;
    uint32_t index = 0;  // within the job
  };
  struct Job {
    Submission submission{};
    uint32_t remaining = 0;  // rows not written yet
    SubmissionEnd end;       // what is known of it so far

    bool ok() const { return end.status == CompletionStatus::kOk; }
    bool finished() const { return !ok() || remaining == 0; }
  };

  absl::Status ServeUntilTold();
  absl::Status TakeSubmissions();
  void Accept(const Submission& submission);
  bool AddPrompts(Job* job);
  void TokenizeNew(size_t first_new);
  void DropWithdrawn(Clock::time_point now);
  void DropPromptsOfFailedJobs();
  Clock::duration TimeToWait(Orders orders, Clock::time_point now);
  bool AnyFinished() const;
  void LearnPass(uint64_t tokens, Clock::time_point begin, Clock::time_point end);
  absl::Status RunBatch(uint64_t* tokens);
  void RunOneByOne(std::span<const uint32_t> picked);
  void MarkRun(Waiting& waiting, uint64_t busy_ns);
  static void Fail(Job* job, CompletionStatus status, uint32_t prompt, std::string detail);
  absl::Status LandFinished();
  absl::Status PublishFinished();

  ReplicaLane& lane_;
  Engine& engine_;
  const EngineInfo info_;
  const std::function<Orders()> orders_;
  DeviceRows* const rows_;
  Linger linger_;
  bool device_is_done_ = true;  // with all passes
  std::list<Job> jobs_;
  std::vector<Waiting> pool_;  // in order of arrival
};

}  // namespace zerohop

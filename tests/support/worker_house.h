#pragma once

// WorkerHouse: a worker with a scripted engine on a real lane, and the test as
// broker. Serve runs the worker until all that was submitted is answered.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "replica_shim/worker.h"
#include "shm/prompt_block.h"
#include "shm/row.h"
#include "tests/support/lane_pair.h"
#include "tests/support/scripted_engine.h"

namespace zerohop {

class WorkerHouse {
 public:
  // A record as an honest broker writes it; every submission has a slot and 4 KiB of each arena.
  Submission Prepare(const std::vector<std::string>& prompts, PromptKind kind = PromptKind::kText) {
    Submission submission{};
    submission.slot = next_slot_++ % 16;
    submission.cookie = 1000 + next_slot_;
    submission.request_offset = submission.response_offset = submission.slot * 4096;
    submission.rows = static_cast<uint32_t>(prompts.size());
    submission.dim = ScriptedEngine::Info().dim;
    submission.kind = static_cast<uint32_t>(kind);
    PromptBlockWriter block(lane.broker->request(submission.request_offset), submission.rows);
    submission.request_length = static_cast<uint32_t>(PromptTableBytes(submission.rows));
    for (const std::string& prompt : prompts) {
      std::memcpy(block.Append(static_cast<uint32_t>(prompt.size())), prompt.data(), prompt.size());
      submission.request_length += static_cast<uint32_t>(prompt.size());
    }
    submission.response_length = static_cast<uint32_t>(submission.rows * RowBytes(submission.dim));
    return submission;
  }
  void Submit(const Submission& submission) {
    if (lane.broker->Submit(submission) != RingResult::kDone) throw std::runtime_error("the ring is full");
  }
  Submission Submit(const std::vector<std::string>& prompts, PromptKind kind = PromptKind::kText) {
    const Submission submission = Prepare(prompts, kind);
    Submit(submission);
    return submission;
  }

  absl::Status Serve() {
    Worker worker(lane.replica, engine, ScriptedEngine::Info(), [] { return Orders::kDrain; });
    return worker.Serve();
  }
  // Of all submissions that were answered, by cookie; in the order in which they were.
  std::vector<Completion> Completions() {
    std::vector<Completion> all;
    Completion completion{};
    while (lane.broker->TakeCompletion(&completion) == RingResult::kDone) all.push_back(completion);
    return all;
  }
  // The next that comes, of a worker on another thread.
  Completion AwaitCompletion() {
    Completion completion{};
    while (lane.broker->TakeCompletion(&completion) != RingResult::kDone) {
      sleeper_.Wait(std::chrono::seconds(100));
    }
    return completion;
  }
  std::string Response(const Submission& submission, size_t bytes) const {
    return {reinterpret_cast<const char*>(lane.broker->response(submission.response_offset)), bytes};
  }
  bool HasRightRows(const Submission& submission, const std::vector<std::string>& prompts) const {
    return Response(submission, submission.response_length) == KnownRows(prompts, submission.dim);
  }

  LanePair lane;
  ScriptedEngine engine;

 private:
  uint32_t next_slot_ = 0;
  BellSleeper sleeper_ = lane.bell.MakeSleeper(std::chrono::nanoseconds(0));
};

// A worker on a thread of its own, until it is drained.
class WorkerThread {
 public:
  using Serve = std::function<absl::Status(std::function<Orders()>)>;

  explicit WorkerThread(Serve serve)
      : thread_([this, serve = std::move(serve)] {
          EXPECT_TRUE(serve([this] { return draining_ ? Orders::kDrain : Orders::kServe; }).ok());
        }) {}
  explicit WorkerThread(WorkerHouse& house)
      : WorkerThread([&house](std::function<Orders()> orders) {
          return Worker(house.lane.replica, house.engine, ScriptedEngine::Info(), std::move(orders)).Serve();
        }) {}
  ~WorkerThread() { Drain(); }
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  void Drain() {
    draining_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> draining_{false};
  std::thread thread_;
};

inline CompletionStatus StatusOf(const Completion& completion) {
  return static_cast<CompletionStatus>(completion.status);
}

}  // namespace zerohop

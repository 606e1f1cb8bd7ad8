#pragma once

// Task: one submission in the hands of a ConcurrentEngine. It holds views of
// the lane, which stays mapped until the task is finished.
// Prompts belong to the engine until then; Finish may be called on any thread.

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "replica_shim/engine.h"
#include "replica_shim/lane_work.h"

namespace zerohop {

class Task {
 public:
  using OnFinish = std::function<void(Task&, SubmissionEnd)>;

  Task(const Submission& submission, std::vector<Prompt> prompts, OnFinish on_finish)
      : submission_(submission), prompts_(std::move(prompts)), on_finish_(std::move(on_finish)) {}
  Task(const Task&) = delete;

  std::vector<Prompt>& prompts() { return prompts_; }
  const Submission& submission() const { return submission_; }

  // Once; what is said later is not heard.
  void Finish(SubmissionEnd end) {
    // EDGE(finish) relaxed: it only decides who speaks.
    if (!finished_.exchange(true, std::memory_order_relaxed)) on_finish_(*this, std::move(end));
  }

 private:
  const Submission submission_;
  std::vector<Prompt> prompts_;
  const OnFinish on_finish_;
  std::atomic<bool> finished_{false};
};

}  // namespace zerohop

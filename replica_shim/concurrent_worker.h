#pragma once

// ConcurrentWorker: hands each submission of the lane to an engine that makes
// batches by itself, many at once, and publishes each when the engine has
// finished it. Serve runs on one thread; tasks are finished on any.
//
// That the engine hangs is seen here, too: callers that give up sooner than the
// broker would leave it nothing to see but withdrawals.
//
// Guarded by the lock: the tasks that are not finished, the completion ring,
// and the heartbeat's progress, which two threads move here.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "replica_shim/engine.h"
#include "replica_shim/lane_work.h"
#include "replica_shim/orders.h"
#include "replica_shim/task.h"

namespace zerohop {

class ConcurrentWorker {
 public:
  ConcurrentWorker(ReplicaLane& lane, ConcurrentEngine& engine, const EngineInfo& info,
                   std::chrono::nanoseconds step, std::function<Orders()> orders);

  // Until the orders say drain or leave, and the engine has finished every task.
  // InternalError when the lane is corrupt, or when the engine has had work for
  // longer than `step` and finished nothing of it; the caller exits. An engine
  // that keeps tasks which it was told to cancel ends the process.
  absl::Status Serve();

 private:
  struct Held {
    std::shared_ptr<Task> task;
    bool cancelled = false;  // the engine was told
  };

  absl::Status ServeUntilTold();
  absl::Status TakeSubmissions();
  void Accept(const Submission& submission);
  void CancelWithdrawn();
  void Cancel(const std::function<bool(const Task&)>& which);
  void Finish(Task& task, SubmissionEnd end);
  bool EngineLetsGo();
  bool Idle();
  absl::Status LookForAHang(std::chrono::steady_clock::time_point now);

  ReplicaLane& lane_;
  ConcurrentEngine& engine_;
  const EngineInfo info_;
  const std::chrono::nanoseconds step_;
  const std::function<Orders()> orders_;

  std::mutex lock_;
  std::condition_variable none_left_;
  std::vector<Held> tasks_;                // not finished
  absl::Status broken_;                    // why nothing more can be published
  std::string why_ended_;                  // once Serve gives up
  std::chrono::nanoseconds fruitless_{0};  // had work, since it last finished some that was not withdrawn
  std::chrono::steady_clock::time_point looked_at_;
};

}  // namespace zerohop

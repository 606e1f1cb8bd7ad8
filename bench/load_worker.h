#pragma once

// LoadWorker: one completion queue, its channels and its calls. In a closed
// loop every answer sends the next request; in an open loop a pacer thread
// sends when a request is due, whatever the server does, and each request is
// timed from when it was due, so a slow server cannot slow the load.
// Run is called on a thread of its own. The worker outlives that thread.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bench/latency_histogram.h"
#include "bench/load_options.h"
#include "bench/request_pool.h"
#include "bench/shallow_wire.h"

namespace zerohop::bench {

using Clock = std::chrono::steady_clock;

// What is counted: answers between `begin` and `end`. Nothing is sent after `end`.
struct LoadWindow {
  Clock::time_point begin, end;
};

// Answers that were no embeddings, of one status code.
struct LoadErrors {
  uint64_t count = 0;
  std::string text;  // of the first; others may differ in their numbers
};

struct LoadResult {
  LatencyHistogram latency;                  // of right answers within the window
  LatencyHistogram refusals;                 // RESOURCE_EXHAUSTED, from sending to answer; all of the run
  uint64_t requests = 0;                     // right answers within the window
  uint64_t prompts = 0;                      // their prompts
  uint64_t answered = 0;                     // within the window, refusals and errors too
  std::chrono::nanoseconds server_cpu{0};    // of options.cpu_of, within the window
  std::chrono::nanoseconds client_cpu{0};    // of this process, within the window
  uint64_t sent = 0;                         // from first to last, warm-up and drain too
  uint64_t held_back = 0;                    // open loop: due while every call was in flight
  std::map<std::string, LoadErrors> errors;  // by code, all of the run
  std::map<std::string, uint64_t> wrong;     // OK, but not the answer; all of the run

  void Merge(const LoadResult& other);
};

class LoadWorker {
 public:
  // `index` of `options.threads`: each takes its share of calls, channels and rate.
  LoadWorker(const LoadOptions& options, const RequestPool& pool, int index,
             std::vector<std::shared_ptr<grpc::Channel>> channels);

  // Returns when every request was answered.
  void Run(LoadWindow window);
  // Ends what is still unanswered. Called from another thread, after window.end.
  void CancelAll();
  const LoadResult& result() const { return result_; }

 private:
  struct Call {
    std::optional<grpc::ClientContext> context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    grpc::GenericStub* stub = nullptr;
    grpc::ByteBuffer answer;
    grpc::Status status;
    std::string id;
    int prompts = 0;
    Clock::time_point due, sent_at;
  };

  void Send(Call& call, Clock::time_point due);
  void Finish(Call& call, Clock::time_point now);
  // Empty, or what is wrong with the answer.
  std::string CheckAnswer(const Call& call);
  void Pace();
  // The last call of all shuts the queue down.
  void Retire();

  const LoadOptions& options_;
  const RequestPool& pool_;
  const int index_;
  LoadWindow window_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  std::vector<Call> calls_;
  std::vector<grpc::Slice> slices_;  // scratch of CheckAnswer
  uint64_t sent_ = 0;
  std::atomic<int> active_{0};  // calls in flight, and the pacer
  std::mutex idle_mutex_;
  std::vector<Call*> idle_;  // open loop only
  LoadResult result_;
};

}  // namespace zerohop::bench

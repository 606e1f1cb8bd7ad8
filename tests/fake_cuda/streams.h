#pragma once

// Streams: each a thread that carries out work in the order it was submitted, and
// never before a chosen delay (FAKECU_DELAY_US) is over or while it is held. The
// queue's lock is all that orders the thread with the one that submits, so that
// the thread sanitizer sees what a program forgot to wait for.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"

namespace zerohop::fake_cuda {

class Stream {
 public:
  explicit Stream(std::shared_ptr<Context> stream_context) : context(std::move(stream_context)) {}

  // What is submitted to a broken context is not carried out, nor what follows what broke it.
  void Submit(std::function<void(Context&)> work);
  // Whether all that was submitted is done; 600 or the context's error where it is not.
  cuda::CUresult Query();
  // Waits until what has been submitted by now is done, in success or not.
  cuda::CUresult Synchronize();

  void Hold(bool held);
  // No more work comes: the thread ends after what there is.
  void Close();

  // The thread's function.
  void Run();

  const std::shared_ptr<Context> context;

 private:
  struct Work {
    std::function<void(Context&)> function;
    std::chrono::steady_clock::time_point not_before;
  };
  // The next work to do; nothing when closed and empty.
  bool Take(Work& work);

  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  uint64_t submitted_ = 0;
  uint64_t done_ = 0;
  bool held_ = false;
  bool closed_ = false;
};

// True on a stream's thread, in functions that a program gave us: those may not call CUDA.
bool InHostFunction();
// Runs such a function.
void CallHostFunction(cuda::CUhostFn function, void* argument);

// Results as those of the driver's functions. FindStream: null for a handle of no
// stream, and for the NULL stream where that is refused (FAKECU_STRICT).
cuda::CUresult CreateStream(const std::shared_ptr<Context>& context, cuda::CUstream* handle, unsigned flags);
std::shared_ptr<Stream> FindStream(const std::shared_ptr<Context>& context, cuda::CUstream handle);
cuda::CUresult DestroyStream(cuda::CUstream handle);

uint64_t CountStreams();

}  // namespace zerohop::fake_cuda

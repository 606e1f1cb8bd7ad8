#include "tests/fake_cuda/streams.h"

#include <map>
#include <mutex>
#include <thread>

#include "tests/fake_cuda/faults.h"
#include "tests/fake_cuda/handle_table.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

struct Streams {
  HandleTable<cuda::CUstream, Stream> by_handle{0x57'0000'0000};
  std::mutex lock;                                           // of what follows
  std::map<uint64_t, std::shared_ptr<Stream>> null_streams;  // by context
};

Streams& TheStreams() {
  static Streams& streams = *new Streams;
  return streams;
}

thread_local bool in_host_function = false;

std::shared_ptr<Stream> Start(const std::shared_ptr<Context>& context) {
  auto stream = std::make_shared<Stream>(context);
  // Detached: it may wait for an event that never comes, and the process still has to end.
  std::thread([stream] { stream->Run(); }).detach();
  return stream;
}

}  // namespace

void Stream::Submit(std::function<void(Context&)> work) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard guard(lock_);
  queue_.push_back({std::move(work), now + std::chrono::microseconds(TheSettings().delay_us)});
  ++submitted_;
  changed_.notify_all();
}

cuda::CUresult Stream::Query() {
  const std::lock_guard guard(lock_);
  if (context->broken != 0) return static_cast<cuda::CUresult>(context->broken.load());
  return done_ == submitted_ ? cuda::CUDA_SUCCESS : cuda::CUDA_ERROR_NOT_READY;
}

cuda::CUresult Stream::Synchronize() {
  std::unique_lock guard(lock_);
  const uint64_t target = submitted_;
  changed_.wait(guard, [&] { return done_ >= target; });
  return static_cast<cuda::CUresult>(context->broken.load());
}

void Stream::Hold(bool held) {
  const std::lock_guard guard(lock_);
  held_ = held;
  changed_.notify_all();
}

void Stream::Close() {
  const std::lock_guard guard(lock_);
  closed_ = true;
  changed_.notify_all();
}

bool Stream::Take(Work& work) {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [&] { return (!held_ && !queue_.empty()) || (closed_ && queue_.empty()); });
  if (queue_.empty()) return false;
  work = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void Stream::Run() {
  for (Work work; Take(work);) {
    std::this_thread::sleep_until(work.not_before);
    const cuda::CUresult fault = FaultBefore("async");
    if (fault != cuda::CUDA_SUCCESS) context->Break(fault);
    if (context->broken == 0 && !context->destroyed) work.function(*context);
    FaultAfter();
    work.function = nullptr;  // before it counts as done: what it kept alive may be what is asked for next
    const std::lock_guard guard(lock_);
    ++done_;
    changed_.notify_all();
  }
}

bool InHostFunction() {
  return in_host_function;
}

void CallHostFunction(cuda::CUhostFn function, void* argument) {
  in_host_function = true;
  function(argument);
  in_host_function = false;
}

cuda::CUresult CreateStream(const std::shared_ptr<Context>& context, cuda::CUstream* handle, unsigned flags) {
  if (handle == nullptr || flags > cuda::CU_STREAM_NON_BLOCKING) return cuda::CUDA_ERROR_INVALID_VALUE;
  *handle = TheStreams().by_handle.Add(Start(context));
  return cuda::CUDA_SUCCESS;
}

std::shared_ptr<Stream> FindStream(const std::shared_ptr<Context>& context, cuda::CUstream handle) {
  Streams& streams = TheStreams();
  if (handle != nullptr) return streams.by_handle.Find(handle);
  if (TheSettings().strict) return nullptr;
  const std::lock_guard guard(streams.lock);
  std::shared_ptr<Stream>& stream = streams.null_streams[context->id];
  if (stream == nullptr) stream = Start(context);
  return stream;
}

cuda::CUresult DestroyStream(cuda::CUstream handle) {
  const std::shared_ptr<Stream> stream = TheStreams().by_handle.Remove(handle);
  if (stream == nullptr) return cuda::CUDA_ERROR_INVALID_HANDLE;
  stream->Close();
  return cuda::CUDA_SUCCESS;
}

uint64_t CountStreams() {
  return TheStreams().by_handle.size();
}

}  // namespace zerohop::fake_cuda

#include "tests/fake_cuda/entry.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "tests/fake_cuda/exit_report.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/streams.h"

namespace zerohop::fake_cuda {
namespace {

std::atomic<int> init_pid = 0;
std::atomic<bool> exited = false;

void Exit() {
  if (::getpid() != init_pid) return;  // a forked child that exits takes nothing with it
  ReportExit();
  exited = true;
  Leave();
}

}  // namespace

cuda::CUresult Initialize() {
  static std::mutex& lock = *new std::mutex;
  // A child of a fork has our state, but none of our threads.
  if (init_pid != 0 && init_pid != ::getpid()) return cuda::CUDA_ERROR_NOT_INITIALIZED;
  const std::lock_guard guard(lock);
  if (const cuda::CUresult fault = FaultBefore("cuInit")) return fault;
  if (VisibleDevices() == 0) return cuda::CUDA_ERROR_NO_DEVICE;
  if (init_pid == 0) {
    Join();
    init_pid = ::getpid();
    std::atexit(Exit);
  }
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult Admit(const char* symbol) {
  if (InHostFunction()) return cuda::CUDA_ERROR_NOT_PERMITTED;
  if (init_pid != ::getpid()) return cuda::CUDA_ERROR_NOT_INITIALIZED;
  if (exited) return cuda::CUDA_ERROR_DEINITIALIZED;
  return FaultBefore(symbol);
}

cuda::CUresult Admit(const char* symbol, std::shared_ptr<Context>& context) {
  if (const cuda::CUresult refused = Admit(symbol)) return refused;
  context = Current();
  if (context == nullptr) return cuda::CUDA_ERROR_INVALID_CONTEXT;
  if (context->destroyed) return cuda::CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return static_cast<cuda::CUresult>(context->broken.load());
}

}  // namespace zerohop::fake_cuda

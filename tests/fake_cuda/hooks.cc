// The functions of fake_cuda.h.

#include <algorithm>
#include <cstring>
#include <string_view>

#include "tests/fake_cuda/copies.h"
#include "tests/fake_cuda/departure.h"
#include "tests/fake_cuda/entry.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/registry.h"

using namespace zerohop::cuda;       // NOLINT: this file speaks the driver's language
using namespace zerohop::fake_cuda;  // NOLINT

namespace {

using ContextPtr = std::shared_ptr<Context>;

CUresult Hold(const char* symbol, CUstream handle, bool held) {
  return Enter(symbol, [&](ContextPtr& context) {
    const auto stream = FindStream(context, handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    stream->Hold(held);
    return CUDA_SUCCESS;
  });
}

}  // namespace

extern "C" {

CUresult fakecu_launch(CUstream handle, CUhostFn function, void* argument) {
  return Enter("fakecu_launch", [&](ContextPtr& context) {
    const auto stream = FindStream(context, handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
    stream->Submit([=](Context& running) { RunLaunched(running, function, argument); });
    return CUDA_SUCCESS;
  });
}

void* fakecu_access(CUdeviceptr address, size_t bytes) {
  return AccessDevice(address, bytes);
}

CUresult fakecu_hold_stream(CUstream stream) {
  return Hold("fakecu_hold_stream", stream, true);
}

CUresult fakecu_release_stream(CUstream stream) {
  return Hold("fakecu_release_stream", stream, false);
}

CUresult fakecu_second_context(CUcontext* context, CUdevice device) {
  return Enter("fakecu_second_context", [&] { return MakeSecondContext(context, device); });
}

CUresult fakecu_set_faults(int pid, const char* faults) {
  if (faults == nullptr || std::strlen(faults) >= kMaxFaultText || !ParseFaults(faults)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const RegistryLock registry;
  FaultRecord* free = nullptr;
  for (FaultRecord& record : registry->faults) {
    if (*faults == 0 && record.pid == pid) record = {};
    if (record.used == 0 && free == nullptr) free = &record;
  }
  if (*faults != 0) {
    if (free == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    free->pid = pid;
    free->used = 1;
    std::strcpy(free->text, faults);
  }
  ++registry->faults_version;
  return CUDA_SUCCESS;
}

unsigned long long fakecu_counter(int pid, const char* name) {
  const auto found = std::find(std::begin(kCounterNames), std::end(kCounterNames), std::string_view(name));
  if (found == std::end(kCounterNames)) return ~0ULL;
  const auto index = static_cast<size_t>(found - std::begin(kCounterNames));
  const RegistryLock registry;
  unsigned long long sum = pid == 0 ? registry->departed_counters[index] : 0;
  bool seen = pid == 0;
  for (const ProcessRecord& process : registry->processes) {
    if (process.pid == 0 || (pid != 0 && process.pid != pid)) continue;
    sum += process.counters[index];
    seen = true;
  }
  return seen ? sum : ~0ULL;
}

void fakecu_remove_namespace() {
  RemoveNamespace();
}

void fakecu_sweep() {
  const RegistryLock registry;
  SettleDead(*registry);
}
}

#include "tests/fake_cuda/contexts.h"

#include <map>
#include <mutex>
#include <shared_mutex>

#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

struct Primary {
  std::shared_ptr<Context> context;
  unsigned retains = 0;
};

struct Contexts {
  std::shared_mutex lock;
  uint64_t next_id = 1;
  std::map<cuda::CUcontext, std::shared_ptr<Context>> all;  // of those that stand
  std::map<int, Primary> primaries;                         // by ordinal
  std::atomic<unsigned> broken[kMaxDevices] = {};
};

Contexts& TheContexts() {
  static Contexts& contexts = *new Contexts;
  return contexts;
}

thread_local std::shared_ptr<Context> current;

std::shared_ptr<Context> Make(Contexts& contexts, int ordinal) {
  const uint32_t device = VisibleDevice(ordinal);
  std::shared_ptr<Context> context(new Context{
      .id = contexts.next_id++, .device = device, .ordinal = ordinal, .broken = contexts.broken[device]});
  contexts.all[context->handle()] = context;
  return context;
}

}  // namespace

int VisibleDevices() {
  int count = 0;
  while (VisibleDevice(count) != kNobody) ++count;
  return count;
}

uint32_t VisibleDevice(int ordinal) {
  const uint32_t devices = SharedWords().device_count;
  if (ordinal < 0) return kNobody;
  const auto index = static_cast<uint32_t>(ordinal);
  const auto& visible = TheSettings().visible;
  if (!visible) return index < devices ? index : kNobody;
  // As with CUDA_VISIBLE_DEVICES, what follows a device that does not exist is not seen either.
  for (size_t i = 0; i <= index; ++i) {
    if (i >= visible->size() || (*visible)[i] >= devices) return kNobody;
  }
  return (*visible)[index];
}

cuda::CUresult RetainPrimary(cuda::CUcontext* handle, int ordinal) {
  if (handle == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  if (VisibleDevice(ordinal) == kNobody) return cuda::CUDA_ERROR_INVALID_DEVICE;
  Contexts& contexts = TheContexts();
  const std::unique_lock guard(contexts.lock);
  Primary& primary = contexts.primaries[ordinal];
  if (primary.retains == 0) primary.context = Make(contexts, ordinal);
  ++primary.retains;
  *handle = primary.context->handle();
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult ReleasePrimary(int ordinal) {
  if (VisibleDevice(ordinal) == kNobody) return cuda::CUDA_ERROR_INVALID_DEVICE;
  Contexts& contexts = TheContexts();
  std::shared_ptr<Context> ended;
  {
    const std::unique_lock guard(contexts.lock);
    Primary& primary = contexts.primaries[ordinal];
    if (primary.retains == 0) return cuda::CUDA_ERROR_INVALID_CONTEXT;
    if (--primary.retains > 0) return cuda::CUDA_SUCCESS;
    ended = std::move(primary.context);
    contexts.all.erase(ended->handle());
    ended->destroyed = true;
  }
  FreeAllOf(*ended);
  return cuda::CUDA_SUCCESS;
}

bool PrimaryActive(int ordinal) {
  Contexts& contexts = TheContexts();
  const std::shared_lock guard(contexts.lock);
  const auto found = contexts.primaries.find(ordinal);
  return found != contexts.primaries.end() && found->second.retains > 0;
}

cuda::CUresult MakeSecondContext(cuda::CUcontext* handle, int ordinal) {
  if (VisibleDevice(ordinal) == kNobody) return cuda::CUDA_ERROR_INVALID_DEVICE;
  Contexts& contexts = TheContexts();
  const std::unique_lock guard(contexts.lock);
  *handle = Make(contexts, ordinal)->handle();
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult SetCurrent(cuda::CUcontext handle) {
  std::shared_ptr<Context> context;
  if (handle != nullptr) {
    Contexts& contexts = TheContexts();
    const std::shared_lock guard(contexts.lock);
    const auto found = contexts.all.find(handle);
    if (found == contexts.all.end()) return cuda::CUDA_ERROR_INVALID_CONTEXT;
    context = found->second;
  }
  current = std::move(context);
  return cuda::CUDA_SUCCESS;
}

std::shared_ptr<Context> Current() {
  return current;
}

uint64_t StandingContexts() {
  Contexts& contexts = TheContexts();
  const std::shared_lock guard(contexts.lock);
  return contexts.all.size();
}

}  // namespace zerohop::fake_cuda

#pragma once

// Contexts of this process: the primary one of each device, counted by retains,
// and for tests a second one; which of them is current on each thread; and the
// error that breaks one for good.

#include <atomic>
#include <cstdint>
#include <memory>

#include "shm/cuda/cuda_api.h"

namespace zerohop::fake_cuda {

struct Context {
  uint64_t id;
  uint32_t device;  // index in the registry
  int ordinal;      // what this process calls it
  // The error that every later call returns. Of the device, for this whole process: a
  // new context on it does not help, as in "must be terminated and relaunched".
  std::atomic<unsigned>& broken;
  std::atomic<bool> destroyed = false;

  cuda::CUcontext handle() const { return reinterpret_cast<cuda::CUcontext>(kFirstHandle + id); }
  // The first error stays. Work that a context leaves behind when it ends breaks nothing.
  void Break(cuda::CUresult error) {
    unsigned none = 0;
    if (!destroyed) broken.compare_exchange_strong(none, error);
  }

  // Handles are numbers, not addresses: who follows one faults.
  static constexpr uint64_t kFirstHandle = 0xC0'0000'0000;
};

// The ordinals this process sees. VisibleDevice: index in the registry, or kNobody.
int VisibleDevices();
uint32_t VisibleDevice(int ordinal);

// Results as those of the driver's functions of these names.
cuda::CUresult RetainPrimary(cuda::CUcontext* handle, int ordinal);
cuda::CUresult ReleasePrimary(int ordinal);
bool PrimaryActive(int ordinal);
cuda::CUresult MakeSecondContext(cuda::CUcontext* handle, int ordinal);

// Null: none. SetCurrent: 201 for a handle of no context.
cuda::CUresult SetCurrent(cuda::CUcontext handle);
std::shared_ptr<Context> Current();

// Contexts that stand, for the report of leaks.
uint64_t StandingContexts();

}  // namespace zerohop::fake_cuda

#pragma once

// What the emulator counts, per process; fakecu_counter sums them over a namespace.

#include <cstddef>
#include <string_view>

namespace zerohop::fake_cuda {

// X(name, what is counted)
#define FAKE_CUDA_COUNTERS(X)                                           \
  X(allocations, "device allocations made")                             \
  X(exports, "memory handles given out")                                \
  X(opens, "memory handles opened, again or for the first time")        \
  X(mappings, "imports that mapped memory: one per region and process") \
  X(closes, "imports closed")                                           \
  X(registrations, "host ranges registered")                            \
  X(pageable_copies, "copies from or to host memory not registered")    \
  X(copies_htod, "copies to a device")                                  \
  X(copies_dtoh, "copies from a device")                                \
  X(copies_dtod, "copies within a device")                              \
  X(bytes_htod, "bytes copied to a device")                             \
  X(bytes_dtoh, "bytes copied from a device")                           \
  X(bytes_dtod, "bytes copied within a device")                         \
  X(undefined, "uses that CUDA leaves undefined")                       \
  X(faults, "faults injected")

enum class Counter {
#define FAKE_CUDA_ENUM(name, what) name,
  FAKE_CUDA_COUNTERS(FAKE_CUDA_ENUM)
#undef FAKE_CUDA_ENUM
};

inline constexpr std::string_view kCounterNames[] = {
#define FAKE_CUDA_NAME(name, what) #name,
    FAKE_CUDA_COUNTERS(FAKE_CUDA_NAME)
#undef FAKE_CUDA_NAME
};
inline constexpr size_t kCounters = sizeof(kCounterNames) / sizeof(kCounterNames[0]);

}  // namespace zerohop::fake_cuda

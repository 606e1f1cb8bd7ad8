#pragma once

// Subject: the driver under test, be it the emulator or a real one; and what is
// expected of it, with how we know.

#include <initializer_list>
#include <string>

#include "shm/cuda/cuda_driver.h"

namespace zerohop::conformance {

// Where an expectation comes from.
enum class Known {
  kDocumented,  // in the comments of cuda.h or in the programming guide
  kTested,      // asserted by AMD's hip-tests, which are built for CUDA too
  kObserved,    // somebody reported it
  kInferred,    // we conclude it
};

struct Subject {
  CudaDriver driver;
  bool emulated = false;
  // The emulator's hook, or on a real driver a function of it that the product never uses. May be null.
  cuda::CUresult (*second_context)(cuda::CUcontext* context, cuda::CUdevice device) = nullptr;
  void (*destroy_context)(cuda::CUcontext context) = nullptr;
  // The opening of drivers before 11.0, which the product never uses. Null in the emulator.
  cuda::CUresult (*open_memory_v1)(cuda::CUdeviceptr* address, cuda::CUipcMemHandle handle,
                                   unsigned flags) = nullptr;
};

// Loads libcuda.so.1 once. Ends the process with 77, "skipped", where there is none or no device.
const Subject& TheSubject();

// FAKECU_UB of the emulator; empty for a real driver.
std::string UndefinedPolicy();

// The place of an expectation. std::source_location, which clang 14 does not have.
struct Where {
  static constexpr Where Current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  const char* file;
  int line;
};

// The emulator must answer the first of `expected`. So must a real driver answer one
// of them, if it is documented or tested; otherwise a difference is noted, and does not fail.
void Expect(Known known, const std::string& what, cuda::CUresult got,
            std::initializer_list<cuda::CUresult> expected, Where where = Where::Current());

// The same for anything else, as text.
void ExpectText(Known known, const std::string& what, const std::string& got, const std::string& expected,
                Where where = Where::Current());

}  // namespace zerohop::conformance

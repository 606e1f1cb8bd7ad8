#pragma once

// CudaDriver: the functions of libcuda.so.1, found at run time. Nothing links
// CUDA, so that the same programs run where there is no GPU.
//
// A plain table, copied freely, usable from any thread. The library is never
// closed: its threads and contexts may outlive whoever loaded it.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/cuda/cuda_api.h"

namespace zerohop {
namespace cuda {

// One pointer per function, under the name of its symbol. Null only before
// CudaDriver::Load, and for the optional ones that a driver lacks.
struct DriverFunctions {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration takes none there.
#define ZEROHOP_CUDA_POINTER(symbol, parameters) CUresult(*symbol) parameters = nullptr;
  ZEROHOP_CUDA_FUNCTIONS(ZEROHOP_CUDA_POINTER)
  ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(ZEROHOP_CUDA_POINTER)
#undef ZEROHOP_CUDA_POINTER
};

}  // namespace cuda

struct CudaDriver : cuda::DriverFunctions {
  // Loads `library` and looks up every function. NotFound where there is no such
  // library, Unimplemented where it lacks functions, which the message names.
  // Touches no device: that is for Init.
  static absl::StatusOr<CudaDriver> Load(const std::string& library = "libcuda.so.1");

  // Initializes the driver for this process; its threads do not survive a fork, so
  // children that shall use CUDA are started by exec. Unavailable where no device
  // can be used: no GPU, a driver that does not fit its kernel module, the stub
  // that comes with a toolkit.
  absl::Status Init() const;

  // OK, or one sentence: Check(result, "export the device arena") makes "cannot
  // export the device arena: CUDA_ERROR_INVALID_VALUE (1), invalid argument".
  // InvalidArgument for what we passed, FailedPrecondition for a missing context or
  // initialization, ResourceExhausted out of device memory, Unavailable without a
  // usable device or for work not done yet, Internal for all that a device or a
  // context does not recover from.
  absl::Status Check(cuda::CUresult result, const std::string& doing) const;
};

}  // namespace zerohop

#pragma once

// Faults: what a test makes go wrong, at a chosen call of a chosen process.
//
// Faults are separated by ';', each a function (with or without its "_v2", or
// "async": work on a stream as it starts) and what to do, separated by ':'.
//   when   nth=3         at the third call from now on; otherwise at every one
//          p=.01:seed=7  with this probability; the same calls for the same seed
//   what   err=400       return it, and do nothing else; of "async", break the context with it
//          delay_us=500  take that long
//          hang          never return
//          sigkill=before, sigkill=after   die, with the work done or not
// "cuIpcOpenMemHandle:nth=2:err=1; cuMemcpyDtoHAsync:p=.1:seed=7:delay_us=300"
//
// From FAKECU_FAULT, and live from the registry (fakecu_set_faults).

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/cuda/cuda_api.h"

namespace zerohop::fake_cuda {

enum class Kill { kNo, kBefore, kAfter };

struct Fault {
  std::string function;
  unsigned nth = 0;  // 0: at every call
  double probability = 1;
  unsigned seed = 1;
  cuda::CUresult error = cuda::CUDA_SUCCESS;
  unsigned delay_us = 0;
  bool hang = false;
  Kill kill = Kill::kNo;
};

// Nothing for a text that is none of the above.
std::optional<std::vector<Fault>> ParseFaults(std::string_view text);

// To be asked before a call of `function` is carried out: delays, hangs or kills as
// told; the error to return instead, if any.
cuda::CUresult FaultBefore(std::string_view function);

// And after it, on the same thread.
void FaultAfter();

}  // namespace zerohop::fake_cuda

#pragma once

// The driver's functions as the emulator defines them.

#include "shm/cuda/cuda_api.h"

namespace zerohop::cuda {

extern "C" {
#define FAKE_CUDA_DECLARE(symbol, parameters) CUresult symbol parameters;
ZEROHOP_CUDA_FUNCTIONS(FAKE_CUDA_DECLARE)
ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(FAKE_CUDA_DECLARE)
#undef FAKE_CUDA_DECLARE
}

}  // namespace zerohop::cuda

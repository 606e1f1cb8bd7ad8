#pragma once

// Names and descriptions of results, and functions by their names.

#include "shm/cuda/cuda_api.h"

namespace zerohop::fake_cuda {

// Null for a number that is no result.
const char* NameOf(cuda::CUresult result);
const char* TextOf(cuda::CUresult result);

// The function that cuGetProcAddress finds under a name without version; null for
// one that there is not, or that is hidden (FAKECU_HIDE).
void* FindSymbol(const char* name);

}  // namespace zerohop::fake_cuda

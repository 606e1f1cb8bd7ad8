#pragma once

// What every function of the driver checks before it does its own work, in the
// order a real one does: initialization, faults, the error that broke the
// context, the context.

#include <memory>
#include <type_traits>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"
#include "tests/fake_cuda/faults.h"

namespace zerohop::fake_cuda {

// The state that cuInit makes: this process is one of the namespace, and says goodbye at exit.
cuda::CUresult Initialize();

// Success, or why a call may not be carried out: after a fork or before cuInit 3,
// within a host function 800, after exit 4, or an injected fault.
cuda::CUresult Admit(const char* symbol);
// And with a context: 201 without one, 709 for one destroyed, or what broke it.
cuda::CUresult Admit(const char* symbol, std::shared_ptr<Context>& context);

// Carries out `body`, of a function that needs a current context where it takes one.
template <typename Body>
cuda::CUresult Enter(const char* symbol, Body body) {
  cuda::CUresult result;
  if constexpr (std::is_invocable_v<Body, std::shared_ptr<Context>&>) {
    std::shared_ptr<Context> context;
    result = Admit(symbol, context);
    if (result == cuda::CUDA_SUCCESS) result = body(context);
  } else {
    result = Admit(symbol);
    if (result == cuda::CUDA_SUCCESS) result = body();
  }
  FaultAfter();
  return result;
}

}  // namespace zerohop::fake_cuda

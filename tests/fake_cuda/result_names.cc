#include "tests/fake_cuda/result_names.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tests/fake_cuda/driver_functions.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

struct ResultText {
  cuda::CUresult result;
  const char* name;
  const char* text;
};

#define FAKE_CUDA_RESULT(result, text) \
  { cuda::result, #result, text }
constexpr ResultText kResults[] = {
    FAKE_CUDA_RESULT(CUDA_SUCCESS, "no error"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_VALUE, "invalid value"),
    FAKE_CUDA_RESULT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_INITIALIZED, "not initialized"),
    FAKE_CUDA_RESULT(CUDA_ERROR_DEINITIALIZED, "deinitialized"),
    FAKE_CUDA_RESULT(CUDA_ERROR_STUB_LIBRARY, "stub library"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_IMAGE, "invalid image"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, "no binary for gpu"),
    FAKE_CUDA_RESULT(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "unsupported ptx version"),
    FAKE_CUDA_RESULT(CUDA_ERROR_DEVICE_UNAVAILABLE, "device unavailable"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NO_DEVICE, "no device"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_DEVICE, "invalid device"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_CONTEXT, "invalid context"),
    FAKE_CUDA_RESULT(CUDA_ERROR_MAP_FAILED, "map failed"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ALREADY_MAPPED, "already mapped"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ECC_UNCORRECTABLE, "ecc uncorrectable"),
    FAKE_CUDA_RESULT(CUDA_ERROR_OPERATING_SYSTEM, "operating system"),
    FAKE_CUDA_RESULT(CUDA_ERROR_INVALID_HANDLE, "invalid handle"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_FOUND, "not found"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_READY, "not ready"),
    FAKE_CUDA_RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, "illegal address"),
    FAKE_CUDA_RESULT(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    FAKE_CUDA_RESULT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "host memory already registered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "host memory not registered"),
    FAKE_CUDA_RESULT(CUDA_ERROR_LAUNCH_FAILED, "launch failed"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_PERMITTED, "not permitted"),
    FAKE_CUDA_RESULT(CUDA_ERROR_NOT_SUPPORTED, "not supported"),
    FAKE_CUDA_RESULT(CUDA_ERROR_SYSTEM_NOT_READY, "system not ready"),
    FAKE_CUDA_RESULT(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system driver mismatch"),
    FAKE_CUDA_RESULT(CUDA_ERROR_TIMEOUT, "timeout"),
    FAKE_CUDA_RESULT(CUDA_ERROR_UNKNOWN, "unknown"),
};
#undef FAKE_CUDA_RESULT

const ResultText* Find(cuda::CUresult result) {
  const auto found = std::find_if(std::begin(kResults), std::end(kResults),
                                  [&](const ResultText& known) { return known.result == result; });
  return found == std::end(kResults) ? nullptr : found;
}

// "cuMemAlloc" of "cuMemAlloc_v2".
std::string_view BaseName(std::string_view symbol) {
  return symbol.ends_with("_v2") ? symbol.substr(0, symbol.size() - 3) : symbol;
}

}  // namespace

const char* NameOf(cuda::CUresult result) {
  const ResultText* found = Find(result);
  return found == nullptr ? nullptr : found->name;
}

const char* TextOf(cuda::CUresult result) {
  const ResultText* found = Find(result);
  return found == nullptr ? nullptr : found->text;
}

void* FindSymbol(const char* name) {
#define FAKE_CUDA_SYMBOL(symbol, parameters) {#symbol, reinterpret_cast<void*>(&cuda::symbol)},
  static const std::pair<std::string_view, void*> symbols[] = {
      ZEROHOP_CUDA_FUNCTIONS(FAKE_CUDA_SYMBOL) ZEROHOP_CUDA_OPTIONAL_FUNCTIONS(FAKE_CUDA_SYMBOL)};
#undef FAKE_CUDA_SYMBOL
  for (const std::string& hidden : TheSettings().hidden_symbols) {
    if (BaseName(hidden) == name) return nullptr;
  }
  for (const auto& [symbol, function] : symbols) {
    if (BaseName(symbol) == name) return function;
  }
  return nullptr;
}

}  // namespace zerohop::fake_cuda

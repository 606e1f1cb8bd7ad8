#include "tests/fake_cuda/modules.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fake_cuda/copies.h"
#include "tests/fake_cuda/handle_table.h"
#include "tests/fake_cuda/kernels.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/undefined.h"

namespace zerohop::fake_cuda {
namespace {

struct Module {
  std::shared_ptr<Context> context;
  std::string image;
  std::atomic<bool> unloaded = false;
};

struct Function {
  std::shared_ptr<Module> module;
  const Kernel* kernel;
};

using Modules = HandleTable<cuda::CUmodule, Module>;
using Functions = HandleTable<cuda::CUfunction, Function>;

Modules& TheModules() {
  static Modules& modules = *new Modules(0x4D'0000'0000);
  return modules;
}

// Handles of functions whose module is gone stay, so that a use of one is seen.
Functions& TheFunctions() {
  static Functions& functions = *new Functions(0x46'0000'0000);
  return functions;
}

// What nvcc's -fatbin begins with (fatbinary_section.h of the toolkit).
struct FatBinaryHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint64_t bytes;  // after the header
};
constexpr uint32_t kFatBinaryMagic = 0xBA55ED50;

// All of the image; empty for what is none.
std::string_view ImageAt(const void* image) {
  const auto* text = static_cast<const char*>(image);
  FatBinaryHeader header{};
  // Byte by byte: a text may be shorter than the header.
  if (std::equal(text, text + sizeof header.magic, reinterpret_cast<const char*>(&kFatBinaryMagic))) {
    std::memcpy(&header, image, sizeof header);
    return {text, header.header_bytes + header.bytes};
  }
  const std::string_view ptx(text);
  return ptx.find(".version") != std::string_view::npos ? ptx : std::string_view();
}

// One launch, until the stream has come to it.
struct Launched {
  std::shared_ptr<Function> function;
  Grid grid;
  std::vector<std::byte> parameter;
};

void Run(void* argument) {
  const auto& launched = *static_cast<const Launched*>(argument);
  launched.function->kernel->run(launched.parameter.data(), launched.grid.blocks, launched.grid.threads);
}

}  // namespace

cuda::CUresult LoadModule(const std::shared_ptr<Context>& context, cuda::CUmodule* handle,
                          const void* image) {
  if (handle == nullptr || image == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  const std::string_view bytes = ImageAt(image);
  if (bytes.empty()) return cuda::CUDA_ERROR_INVALID_IMAGE;
  auto module = std::make_shared<Module>();
  module->context = context;
  module->image = bytes;
  *handle = TheModules().Add(std::move(module));
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult UnloadModule(cuda::CUmodule handle) {
  const auto module = TheModules().Remove(handle);
  if (module == nullptr) return cuda::CUDA_ERROR_INVALID_HANDLE;
  module->unloaded = true;
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult FindFunction(cuda::CUfunction* handle, cuda::CUmodule module, const char* name) {
  if (handle == nullptr || name == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  const auto in = TheModules().Find(module);
  if (in == nullptr) return cuda::CUDA_ERROR_INVALID_HANDLE;
  const Kernel* kernel = FindKernel(name);
  if (kernel == nullptr || in->image.find(name) == std::string::npos) return cuda::CUDA_ERROR_NOT_FOUND;
  *handle = TheFunctions().Add(std::make_shared<Function>(Function{in, kernel}));
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult Launch(Stream& stream, cuda::CUfunction handle, Grid grid, void** parameters) {
  const auto function = TheFunctions().Find(handle);
  if (function == nullptr || function->module->unloaded) return cuda::CUDA_ERROR_INVALID_HANDLE;
  if (function->module->context->id != stream.context->id) return cuda::CUDA_ERROR_INVALID_HANDLE;
  if (grid.blocks == 0 || grid.threads == 0 || grid.threads > function->kernel->most_threads ||
      parameters == nullptr || parameters[0] == nullptr) {
    return cuda::CUDA_ERROR_INVALID_VALUE;
  }
  const auto* parameter = static_cast<const std::byte*>(parameters[0]);
  auto launched = std::make_shared<Launched>(
      Launched{function, grid, {parameter, parameter + function->kernel->parameter_bytes}});
  stream.Submit([launched](Context& context) {
    if (launched->function->module->unloaded) {
      const RegistryLock registry;
      Undefined(*registry, "cuModuleUnload before a stream came to a function of the module", Blame::kUs);
    }
    RunLaunched(context, Run, launched.get());
  });
  return cuda::CUDA_SUCCESS;
}

uint64_t CountModules() {
  return TheModules().size();
}

}  // namespace zerohop::fake_cuda

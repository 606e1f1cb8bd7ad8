#include "replica_shim/cuda/pool_kernel.h"

#include <algorithm>
#include <string>

#include "replica_shim/cuda/pool_job.h"

namespace zerohop {
namespace {

// In the order of TokenType.
constexpr std::array kFunctionNames = {"zerohop_pool_float32", "zerohop_pool_float16",
                                       "zerohop_pool_bfloat16"};

absl::Status Refuse(const std::string& reason) {
  return absl::InternalError("cannot pool: " + reason);
}

absl::Status CheckAddresses(const PoolShape& shape, cuda::CUdeviceptr tokens,
                            std::span<const cuda::CUdeviceptr> rows) {
  if (tokens == 0 || tokens % BytesOf(shape.type) != 0) {
    return Refuse("tokens at address " + std::to_string(tokens) + ", expected a multiple of " +
                  std::to_string(BytesOf(shape.type)));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != 0 && rows[i] % sizeof(float) == 0) continue;
    return Refuse("row " + std::to_string(i) + " at address " + std::to_string(rows[i]) +
                  ", expected a multiple of 4");
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const PoolShape& shape, size_t rows) {
  if (shape.dim == 0) return Refuse("a row of 0 floats, expected at least 1");
  if (shape.offsets.size() != rows + 1) {
    return Refuse(std::to_string(rows) + " rows and " + std::to_string(shape.offsets.size()) +
                  " offsets, expected one offset more than rows");
  }
  for (size_t i = 0; i < rows; ++i) {
    if (shape.offsets[i] < shape.offsets[i + 1]) continue;
    return Refuse("prompt " + std::to_string(i) + " from token " + std::to_string(shape.offsets[i]) + " to " +
                  std::to_string(shape.offsets[i + 1]) + ", expected at least one token");
  }
  return absl::OkStatus();
}

// Of the prompts from `begin` on, as many as a launch takes; says how many.
uint32_t FillJob(const PoolShape& shape, std::span<const cuda::CUdeviceptr> rows, size_t begin,
                 PoolJob& job) {
  const size_t prompts = std::min<size_t>(kPoolPrompts, rows.size() - begin);
  std::copy_n(rows.begin() + static_cast<ptrdiff_t>(begin), prompts, job.rows);
  std::copy_n(shape.offsets.begin() + static_cast<ptrdiff_t>(begin), prompts + 1, job.first);
  return static_cast<uint32_t>(prompts);
}

bool LoadsModules(const CudaDriver& driver) {
  return driver.cuModuleLoadData != nullptr && driver.cuModuleUnload != nullptr &&
         driver.cuModuleGetFunction != nullptr && driver.cuLaunchKernel != nullptr;
}

}  // namespace

absl::StatusOr<PoolKernel> PoolKernel::Create(std::shared_ptr<const CudaDevice> device,
                                              std::span<const std::byte> image) {
  if (image.empty()) {
    return absl::UnimplementedError(
        "this build has no CUDA kernels: CMake found no nvcc, or was told -DZEROHOP_CUDA_KERNELS=OFF");
  }
  const CudaDriver& driver = device->driver();
  if (!LoadsModules(driver)) return absl::UnimplementedError("the CUDA driver cannot load kernels");
  if (absl::Status entered = device->Enter(); !entered.ok()) return entered;
  cuda::CUmodule module = nullptr;
  const auto loaded = driver.cuModuleLoadData(&module, image.data());
  if (absl::Status ok = device->Check(loaded, "load the pooling kernel"); !ok.ok()) return ok;
  PoolKernel kernel(std::move(device), module);
  for (size_t i = 0; i < kFunctionNames.size(); ++i) {
    const auto found = driver.cuModuleGetFunction(&kernel.functions_[i], module, kFunctionNames[i]);
    absl::Status ok = kernel.device_->Check(found, std::string("find the kernel ") + kFunctionNames[i]);
    if (!ok.ok()) return ok;
  }
  return kernel;
}

PoolKernel::~PoolKernel() {
  if (module_ != nullptr && device_->Enter().ok()) (void)device_->driver().cuModuleUnload(module_);
}

absl::Status PoolKernel::Launch(cuda::CUstream stream, const PoolShape& shape, cuda::CUdeviceptr tokens,
                                std::span<const cuda::CUdeviceptr> rows) const {
  if (absl::Status ok = CheckShape(shape, rows.size()); !ok.ok()) return ok;
  if (absl::Status ok = CheckAddresses(shape, tokens, rows); !ok.ok()) return ok;
  if (absl::Status entered = device_->Enter(); !entered.ok()) return absl::InternalError(entered.message());
  PoolJob job{.tokens = tokens,
              .dim = shape.dim,
              .pooling = shape.pooling,
              .normalize = shape.normalize ? 1u : 0u,
              .rows = {},
              .first = {}};
  void* parameters[] = {&job};
  uint32_t prompts = 0;
  for (size_t begin = 0; begin < rows.size(); begin += prompts) {
    prompts = FillJob(shape, rows, begin, job);
    const auto launched =
        device_->driver().cuLaunchKernel(functions_[static_cast<size_t>(shape.type)], prompts, 1, 1,
                                         kPoolThreads, 1, 1, 0, stream, parameters, nullptr);
    absl::Status ok = device_->Check(launched, "launch the pooling kernel");
    if (!ok.ok()) return absl::InternalError(ok.message());
  }
  return absl::OkStatus();
}

}  // namespace zerohop

#pragma once

// PoolKernel: the native end of an engine on a GPU. Pools the token embeddings that
// a model left on the device, normalizes them, and writes each prompt's row to its
// own place (Prompt::device_row), in one pass. What is computed: pool_shape.h.
//
// Usable from any thread, and by several at once: a launch carries all that it needs
// to know, and nothing is kept between two. It is to outlive the work that it launched.

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "replica_shim/cuda/pool_image.h"
#include "replica_shim/cuda/pool_shape.h"
#include "shm/cuda/cuda_device.h"

namespace zerohop {

class PoolKernel {
 public:
  // Loads the image into the driver. Unimplemented, in one sentence, where this build has none or the driver
  // cannot load any; otherwise what the driver says, as for a GPU that the image has no code for.
  static absl::StatusOr<PoolKernel> Create(std::shared_ptr<const CudaDevice> device,
                                           std::span<const std::byte> image = PoolImage());
  PoolKernel(PoolKernel&& other) noexcept
      : device_(std::move(other.device_)),
        module_(std::exchange(other.module_, nullptr)),
        functions_(other.functions_) {}
  PoolKernel& operator=(PoolKernel&&) = delete;
  ~PoolKernel();

  // Submits the work and returns; what `shape` and `rows` name may go then. `tokens`: device address of
  // offsets.back() * dim elements, which stay until the stream is done; rows[i]: where the dim floats of
  // prompt i go. Rows are multiples of 4 and tokens of their element's size, and no row overlaps what is read
  // or another. No prompts: nothing.
  //
  // An error is one sentence, and never InvalidArgument: an engine's Run may return it as it is.
  absl::Status Launch(cuda::CUstream stream, const PoolShape& shape, cuda::CUdeviceptr tokens,
                      std::span<const cuda::CUdeviceptr> rows) const;

 private:
  using Functions = std::array<cuda::CUfunction, 3>;  // by TokenType

  PoolKernel(std::shared_ptr<const CudaDevice> device, cuda::CUmodule module)
      : device_(std::move(device)), module_(module) {}

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUmodule module_;
  Functions functions_{};
};

}  // namespace zerohop

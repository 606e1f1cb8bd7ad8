#include "tests/process/device/device_echo_engine.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "replica_shim/cuda/pool_kernel.h"
#include "replica_shim/engines/echo_engine.h"
#include "shm/cuda/device_arena.h"
#include "shm/segment.h"

namespace zerohop {
namespace {

constexpr size_t kStagingBytes = 4 << 20;
// A prompt's tokens, whose mean is its row: every second one has two, which are equal.
constexpr uint32_t kMostTokens = 2;
constexpr uint32_t TokensOf(size_t prompt) {
  return 1 + prompt % kMostTokens;
}

class DeviceEchoEngine final : public Engine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions& options) override {
    auto device = CudaDevice::Open(options.device.empty() ? "0" : options.device);
    if (!device.ok()) return device.status();
    device_ = *std::move(device);
    if (absl::Status entered = device_->Enter(); !entered.ok()) return entered;
    auto stream = CudaStream::Create(device_);
    if (!stream.ok()) return stream.status();
    stream_.emplace(*std::move(stream));
    auto staging = Segment::Create("device-echo", kStagingBytes, Access::kReadWrite);
    if (!staging.ok()) return staging.status();
    staging_ = *std::move(staging);
    auto pages = RegisteredPages::Register(device_, staging_.data(), kStagingBytes);
    if (!pages.ok()) return pages.status();
    pages_.emplace(*std::move(pages));
    if (absl::Status ok = LoadKernel(); !ok.ok()) return ok;
    delay_ = std::chrono::microseconds(options.echo_delay_us);
    dim_ = static_cast<size_t>(options.echo_dim);
    EngineInfo info = EchoInfo(static_cast<uint32_t>(dim_));
    info.batch_prompts = static_cast<uint32_t>(
        std::min(size_t{info.batch_prompts}, kStagingBytes / kMostTokens / sizeof(float) / dim_));
    info.engine = "device " + info.engine;
    info.device = device_->uuid();
    return info;
  }

  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) prompt->length = 1;
    return absl::OkStatus();
  }

  absl::Status Run(std::span<Prompt* const> batch) override {
    if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
    // What an earlier batch copies from is overwritten below.
    absl::Status done =
        Checked(device_->driver().cuStreamSynchronize(stream_->get()), "finish the batch before");
    if (!done.ok()) return done;
    return kernel_ ? PoolRows(batch) : CopyRows(batch);
  }

  std::shared_ptr<const CudaDevice> device() const override { return device_; }
  cuda::CUstream stream() const override { return stream_->get(); }

 private:
  // In a build without kernels, rows are copied to where they go instead.
  absl::Status LoadKernel() {
    if (PoolImage().empty()) return absl::OkStatus();
    auto kernel = PoolKernel::Create(device_);
    if (!kernel.ok()) return kernel.status();
    kernel_.emplace(*std::move(kernel));
    auto tokens = DeviceMemory::Allocate(device_, kStagingBytes);
    if (!tokens.ok()) return tokens.status();
    tokens_.emplace(*std::move(tokens));
    return absl::OkStatus();
  }

  absl::Status Checked(cuda::CUresult result, const std::string& doing) const {
    absl::Status ok = device_->Check(result, doing);
    return ok.ok() ? ok : absl::InternalError(ok.message());
  }

  absl::Status CopyToDevice(cuda::CUdeviceptr to, const float* from, size_t floats) const {
    return Checked(device_->driver().cuMemcpyHtoDAsync_v2(to, from, floats * sizeof(float), stream_->get()),
                   "copy to the device");
  }

  absl::Status CopyRows(std::span<Prompt* const> batch) const {
    auto* row = reinterpret_cast<float*>(staging_.data());
    for (const Prompt* prompt : batch) {
      FillEchoRow(*prompt, {row, dim_});
      if (absl::Status ok = CopyToDevice(prompt->device_row, row, dim_); !ok.ok()) return ok;
      row += dim_;
    }
    return absl::OkStatus();
  }

  // As a model leaves tokens behind, and its end makes rows of them.
  absl::Status PoolRows(std::span<Prompt* const> batch) const {
    std::vector<uint32_t> offsets = {0};
    std::vector<cuda::CUdeviceptr> rows;
    auto* tokens = reinterpret_cast<float*>(staging_.data());
    for (const Prompt* prompt : batch) {
      const uint32_t end = offsets.back() + TokensOf(rows.size());
      for (uint32_t t = offsets.back(); t < end; ++t) FillEchoRow(*prompt, {tokens + t * dim_, dim_});
      offsets.push_back(end);
      rows.push_back(prompt->device_row);
    }
    if (absl::Status ok = CopyToDevice(tokens_->address(), tokens, offsets.back() * dim_); !ok.ok())
      return ok;
    // An echo row is no unit vector, and is to come out as it is.
    const PoolShape shape{TokenType::kFloat32, TokenPooling::kMean, /*normalize=*/false, dim_, offsets};
    return kernel_->Launch(stream_->get(), shape, tokens_->address(), rows);
  }

  std::shared_ptr<const CudaDevice> device_;
  Segment staging_;
  std::optional<RegisteredPages> pages_;
  std::optional<DeviceMemory> tokens_;
  std::optional<PoolKernel> kernel_;
  std::optional<CudaStream> stream_;
  std::chrono::microseconds delay_{0};
  size_t dim_ = 0;
};

}  // namespace

std::unique_ptr<Engine> MakeDeviceEchoEngine() {
  return std::make_unique<DeviceEchoEngine>();
}

}  // namespace zerohop

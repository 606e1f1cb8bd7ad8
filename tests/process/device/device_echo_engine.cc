#include "tests/process/device/device_echo_engine.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "replica_shim/engines/echo_engine.h"
#include "shm/cuda/device_arena.h"
#include "shm/segment.h"

namespace zerohop {
namespace {

constexpr size_t kStagingBytes = 4 << 20;

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
    delay_ = std::chrono::microseconds(options.echo_delay_us);
    dim_ = static_cast<size_t>(options.echo_dim);
    EngineInfo info = EchoInfo(static_cast<uint32_t>(dim_));
    info.batch_prompts =
        static_cast<uint32_t>(std::min(size_t{info.batch_prompts}, kStagingBytes / sizeof(float) / dim_));
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
    const CudaDriver& driver = device_->driver();
    // What an earlier batch copies from is overwritten below.
    absl::Status done = device_->Check(driver.cuStreamSynchronize(stream_->get()), "finish the batch before");
    if (!done.ok()) return absl::InternalError(done.message());
    auto* row = reinterpret_cast<float*>(staging_.data());
    for (Prompt* prompt : batch) {
      FillEchoRow(*prompt, {row, dim_});
      const auto copied =
          driver.cuMemcpyHtoDAsync_v2(prompt->device_row, row, dim_ * sizeof(float), stream_->get());
      if (absl::Status ok = device_->Check(copied, "write a row"); !ok.ok()) {
        return absl::InternalError(ok.message());
      }
      row += dim_;
    }
    return absl::OkStatus();
  }

  std::shared_ptr<const CudaDevice> device() const override { return device_; }
  cuda::CUstream stream() const override { return stream_->get(); }

 private:
  std::shared_ptr<const CudaDevice> device_;
  Segment staging_;
  std::optional<RegisteredPages> pages_;
  std::optional<CudaStream> stream_;
  std::chrono::microseconds delay_{0};
  size_t dim_ = 0;
};

}  // namespace

std::unique_ptr<Engine> MakeDeviceEchoEngine() {
  return std::make_unique<DeviceEchoEngine>();
}

}  // namespace zerohop

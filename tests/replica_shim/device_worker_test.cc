#include <gtest/gtest.h>

#include <cstdlib>

#include "replica_shim/device_rows.h"
#include "shm/cuda/device_arena.h"
#include "tests/fake_cuda/test_namespace.h"
#include "tests/support/worker_house.h"

// A worker whose rows are born on the emulated device and come back by the host. Across processes, and by
// cuda_ipc, which needs two of them: tests/process/device_test.py.

namespace zerohop {
namespace {

const fake_cuda::TestNamespace kNamespace;
// Work on a stream begins late, and who looks before it is done sees it.
const int kLate = ::setenv("FAKECU_DELAY_US", "500", 0);

// Known rows, written by a stream; done when the device says so.
class DeviceEngine final : public Engine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override { return ScriptedEngine::Info(); }

  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) prompt->length = static_cast<uint32_t>(prompt->text.size());
    return absl::OkStatus();
  }

  absl::Status Run(std::span<Prompt* const> batch) override {
    // What the pass before copies from is overwritten below.
    absl::Status done = device_->Check(device_->driver().cuStreamSynchronize(stream()), "finish a pass");
    if (!done.ok()) return absl::InternalError(done.message());
    rows_.clear();
    for (const Prompt* prompt : batch)
      rows_.push_back(KnownRows(std::vector{prompt->text}, ScriptedEngine::Info().dim));
    for (size_t i = 0; i < batch.size(); ++i) {
      absl::Status copied =
          device_->Check(device_->driver().cuMemcpyHtoDAsync_v2(batch[i]->device_row, rows_[i].data(),
                                                                rows_[i].size(), stream()),
                         "copy a row");
      if (!copied.ok()) return absl::InternalError(copied.message());
    }
    ++passes;
    return absl::OkStatus();
  }

  std::shared_ptr<const CudaDevice> device() const override { return device_; }
  cuda::CUstream stream() const override { return stream_.get(); }

  int passes = 0;

 private:
  static std::shared_ptr<const CudaDevice> OpenDevice() {
    auto device = Must(CudaDevice::Open("0"));
    if (!device->Enter().ok()) throw std::runtime_error("the device has no context");
    return device;
  }

  std::shared_ptr<const CudaDevice> device_ = OpenDevice();
  CudaStream stream_ = Must(CudaStream::Create(device_));
  std::vector<std::string> rows_;
};

TEST(DeviceWorker, RowsAreOnTheHostWhenTheirCompletionIsPublished) {
  WorkerHouse house;
  WorkerThread serving([&](std::function<Orders()> orders) {
    DeviceEngine engine;
    ReturnVerdict taken;
    DeviceRows rows = Must(DeviceRows::Make(engine, house.lane.replica, std::nullopt, &taken));
    EXPECT_EQ(taken.path, ReturnPath::kHost);
    Worker worker(house.lane.replica, engine, ScriptedEngine::Info(), std::move(orders), &rows);
    absl::Status served = worker.Serve();
    EXPECT_GT(engine.passes, 100) << "more prompts than a pass holds, in most submissions";
    return served;
  });
  for (int round = 0; round < 50; ++round) {
    std::vector<std::pair<Submission, std::vector<std::string>>> submitted;
    for (int i = 0; i < 3; ++i) {
      std::vector<std::string> prompts(1 + (round + i) % 12);
      for (size_t k = 0; k < prompts.size(); ++k)
        prompts[k] = std::to_string(round * 100 + i) + std::string(k, 'x');
      submitted.emplace_back(house.Submit(prompts), prompts);
    }
    house.lane.broker->RingReplica();
    for (size_t answers = 0; answers < submitted.size(); ++answers) {
      const Completion completion = house.AwaitCompletion();
      ASSERT_EQ(StatusOf(completion), CompletionStatus::kOk);
      for (const auto& [submission, prompts] : submitted) {
        if (submission.cookie != completion.cookie) continue;
        EXPECT_TRUE(house.HasRightRows(submission, prompts));
      }
    }
  }
}

}  // namespace
}  // namespace zerohop

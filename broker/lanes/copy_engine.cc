#include "broker/lanes/copy_engine.h"

#include <algorithm>
#include <tuple>

namespace zerohop {
namespace {

// A copy of a few KiB takes some ten microseconds; the driver has no wait with a deadline.
constexpr std::chrono::microseconds kBetweenQueries(20);
// At the end they are for nobody; but memory that is still written to cannot be given back.
constexpr std::chrono::seconds kLastCopies(1);

}  // namespace

absl::StatusOr<std::unique_ptr<CopyEngine>> CopyEngine::Create(DeviceReturn& home, BellRinger bell) {
  auto stream = CudaStream::Create(home.device());
  if (!stream.ok()) return stream.status();
  // Not make_unique: only we may make one.
  return std::unique_ptr<CopyEngine>(new CopyEngine(home, bell, *std::move(stream)));
}

CopyEngine::CopyEngine(DeviceReturn& home, BellRinger bell, CudaStream stream)
    : home_(home), bell_(bell), stream_(std::move(stream)), thread_([this] { Run(); }) {}

CopyEngine::~CopyEngine() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begun_.notify_one();
  thread_.join();
}

void CopyEngine::Begin(Copy copy) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(copy));
  }
  begun_.notify_one();
}

void CopyEngine::Run() {
  if (absl::Status entered = home_.device()->Enter(); !entered.ok())
    home_.Lose(std::string(entered.message()));
  while (TakeBatch()) {
    absl::Status copied = home_.lost() ? absl::UnavailableError(home_.reason()) : CopyBatch();
    if (!copied.ok() && Stopped()) return home_.LeaveToTheEnd();
    if (!copied.ok()) return OnLost(std::string(copied.message()));
    for (const Copy& copy : batch_) copy.memory->PutLanded(copy.slot);
    batch_.clear();
    bell_.Ring();
  }
}

void CopyEngine::OnLost(std::string reason) {
  home_.Lose(std::move(reason));
  bell_.Ring();  // the lanes are looked at, and found lost
  do {
    for (const Copy& copy : batch_) kept_.push_back(copy.memory->lane().device());
    batch_.clear();
  } while (TakeBatch());
}

bool CopyEngine::Stopped() {
  std::lock_guard lock(mutex_);
  return stop_;
}

// False when it is time to stop.
bool CopyEngine::TakeBatch() {
  std::unique_lock lock(mutex_);
  begun_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
  batch_.swap(waiting_);
  return !stop_;
}

absl::Status CopyEngine::CopyBatch() {
  std::sort(batch_.begin(), batch_.end(), [](const Copy& a, const Copy& b) {
    return std::tie(a.memory, a.offset) < std::tie(b.memory, b.offset);
  });
  for (auto first = batch_.begin(); first != batch_.end();) {
    uint64_t bytes = first->bytes;
    auto next = std::next(first);
    for (; next != batch_.end() && next->memory == first->memory && next->offset == first->offset + bytes;
         ++next) {
      bytes += next->bytes;
    }
    if (absl::Status submitted = Submit(*first, bytes); !submitted.ok()) return submitted;
    first = next;
  }
  return WaitForStream();
}

absl::Status CopyEngine::Submit(const Copy& first, uint64_t bytes) {
  const LaneDevice& lane = *first.memory->lane().device();
  const CudaDevice& device = *home_.device();
  return device.Check(device.driver().cuMemcpyDtoHAsync_v2(
                          lane.on_host(first.offset), lane.on_device(first.offset), bytes, stream_.get()),
                      "copy rows to the host");
}

absl::Status CopyEngine::WaitForStream() {
  const CudaDevice& device = *home_.device();
  Clock::time_point until = Clock::now() + home_.deadline();
  bool last = false;
  for (;;) {
    const cuda::CUresult result = device.driver().cuStreamQuery(stream_.get());
    if (result != cuda::CUDA_ERROR_NOT_READY) return device.Check(result, "copy rows to the host");
    const Clock::time_point now = Clock::now();
    if (now >= until) return absl::DeadlineExceededError("copies of rows to the host do not end");
    if (!last && Stopped()) {
      last = true;
      until = std::min(until, now + kLastCopies);
    }
    std::this_thread::sleep_for(kBetweenQueries);
  }
}

}  // namespace zerohop

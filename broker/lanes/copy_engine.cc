#include "broker/lanes/copy_engine.h"

#include <algorithm>
#include <tuple>

namespace zerohop {
namespace {

// A copy of a few KiB takes some ten microseconds; the driver has no wait with a deadline.
constexpr std::chrono::microseconds kBetweenQueries(20);

}  // namespace

absl::StatusOr<std::unique_ptr<CopyEngine>> CopyEngine::Create(DeviceReturn& home, BellRinger bell,
                                                               std::chrono::nanoseconds deadline) {
  auto stream = CudaStream::Create(home.device());
  if (!stream.ok()) return stream.status();
  // Not make_unique: only we may make one.
  return std::unique_ptr<CopyEngine>(new CopyEngine(home, bell, deadline, *std::move(stream)));
}

CopyEngine::CopyEngine(DeviceReturn& home, BellRinger bell, std::chrono::nanoseconds deadline,
                       CudaStream stream)
    : home_(home), bell_(bell), deadline_(deadline), stream_(std::move(stream)), thread_([this] { Run(); }) {}

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
    if (!copied.ok()) {
      home_.Lose(std::string(copied.message()));
      bell_.Ring();  // the lanes are looked at, and found lost
      // A device that hangs may still write to where these rows should land.
      while (TakeBatch()) {
      }
      return;
    }
    for (const Copy& copy : batch_) copy.memory->PutLanded(copy.slot);
    batch_.clear();
    bell_.Ring();
  }
}

// Appends what waits. False when it is time to stop.
bool CopyEngine::TakeBatch() {
  std::unique_lock lock(mutex_);
  begun_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
  batch_.insert(batch_.end(), std::make_move_iterator(waiting_.begin()),
                std::make_move_iterator(waiting_.end()));
  waiting_.clear();
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

absl::Status CopyEngine::WaitForStream() const {
  const Clock::time_point until = Clock::now() + deadline_;
  for (;;) {
    absl::Status done = stream_.Query();
    if (!absl::IsUnavailable(done)) return done;
    if (Clock::now() >= until) return absl::DeadlineExceededError("copies of rows to the host do not end");
    std::this_thread::sleep_for(kBetweenQueries);
  }
}

}  // namespace zerohop

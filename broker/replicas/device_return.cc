#include "broker/replicas/device_return.h"

#include <spdlog/spdlog.h>

#include <optional>

namespace zerohop {

DeviceReturn::DeviceReturn(std::shared_ptr<const CudaDevice> device, std::chrono::nanoseconds deadline)
    : device_(std::move(device)),
      deadline_(deadline),
      work_(std::make_shared<Work>()),
      thread_([work = work_] { Run(work); }) {}

DeviceReturn::~DeviceReturn() {
  std::unique_lock lock(work_->mutex);
  work_->stop = true;
  work_->changed.notify_all();
  const bool done =
      work_->changed.wait_for(lock, deadline_, [this] { return work_->waiting.empty() && !work_->busy; });
  lock.unlock();
  if (done) {
    thread_.join();
  } else {
    device_->Abandon();
    thread_.detach();
  }
}

void DeviceReturn::Run(const std::shared_ptr<Work>& work) {
  std::unique_lock lock(work->mutex);
  for (;;) {
    work->changed.wait(lock, [&] { return work->stop || !work->waiting.empty(); });
    if (work->waiting.empty()) return;
    auto task = std::move(work->waiting.front());
    work->waiting.pop_front();
    work->busy = true;
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    work->busy = false;
    work->changed.notify_all();
  }
}

void DeviceReturn::Give(const std::shared_ptr<Work>& work, std::function<void()> task) {
  {
    std::lock_guard lock(work->mutex);
    work->waiting.push_back(std::move(task));
  }
  work->changed.notify_all();
}

// Freed on the device's thread, whoever drops it.
template <typename Thing>
DeviceReturn::Shared<Thing> DeviceReturn::ForAnyThread(absl::StatusOr<Thing> thing,
                                                       const std::shared_ptr<Work>& work) {
  if (!thing.ok()) return thing.status();
  return std::shared_ptr<const Thing>(new Thing(*std::move(thing)),
                                      [work](const Thing* gone) { Give(work, [gone] { delete gone; }); });
}

template <typename Thing>
DeviceReturn::Shared<Thing> DeviceReturn::Make(std::function<absl::StatusOr<Thing>()> make) {
  if (lost()) return absl::UnavailableError(reason_);
  const auto made = std::make_shared<std::optional<Shared<Thing>>>();  // guarded by the work's mutex
  Give(work_, [made, make = std::move(make), work = work_] {
    Shared<Thing> result = ForAnyThread(make(), work);
    std::lock_guard lock(work->mutex);
    *made = std::move(result);
  });
  std::unique_lock lock(work_->mutex);
  if (work_->changed.wait_for(lock, deadline_, [&] { return made->has_value(); })) return **made;
  lock.unlock();
  Lose("it does not make room for rows in time");
  return absl::UnavailableError(reason_);
}

absl::StatusOr<std::shared_ptr<const LaneDevice>> DeviceReturn::MakeLaneDevice(size_t bytes) {
  return Make<LaneDevice>([device = device_, bytes] { return LaneDevice::Create(device, bytes); });
}

absl::StatusOr<std::shared_ptr<const DeviceArena>> DeviceReturn::MakeArena(size_t bytes) {
  return Make<DeviceArena>([device = device_, bytes] { return DeviceArena::Export(device, bytes); });
}

void DeviceReturn::Lose(std::string reason) {
  std::lock_guard lock(losing_);
  if (lost()) return;
  spdlog::error("device {} is lost: {}; rows return by the host from now on", device_->uuid(), reason);
  reason_ = std::move(reason);
  device_->Abandon();
  // EDGE(lost) release: whoever sees the flag may read the reason.
  lost_.store(true, std::memory_order_release);
}

}  // namespace zerohop

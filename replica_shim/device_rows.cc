#include "replica_shim/device_rows.h"

#include "replica_shim/crash_point.h"

namespace zerohop {

absl::StatusOr<DeviceRows> DeviceRows::Make(Engine& engine, const ReplicaLane& lane,
                                            const std::optional<DeviceOffer>& offer, ReturnVerdict* taken) {
  if (offer) {
    auto arena = ImportedArena::Open(engine.device(), offer->arena);
    CrashPoint("opened_arena");
    if (arena.ok()) {
      *taken = {ReturnPath::kCudaIpc, ""};
      return DeviceRows(engine, *std::move(arena));
    }
    if (offer->required) return arena.status();
    taken->reason = std::string(arena.status().message());
  }
  auto host = OnHost(engine, lane);
  if (!host.ok()) return host.status();
  taken->path = ReturnPath::kHost;
  return DeviceRows(engine, *std::move(host));
}

absl::StatusOr<DeviceRows::ByHost> DeviceRows::OnHost(const Engine& engine, const ReplicaLane& lane) {
  const std::span<std::byte> pages = lane.response_arena();
  auto memory = DeviceMemory::Allocate(engine.device(), pages.size());
  if (!memory.ok()) return memory.status();
  auto registered = RegisteredPages::Register(engine.device(), pages.data(), pages.size());
  if (!registered.ok()) return registered.status();
  return ByHost{*std::move(memory), *std::move(registered)};
}

cuda::CUdeviceptr DeviceRows::at(uint64_t offset) const {
  if (const auto* imported = std::get_if<ImportedArena>(&home_)) return imported->at(offset);
  return std::get<ByHost>(home_).memory.address() + offset;
}

absl::Status DeviceRows::Begin(const Submission& submission) {
  const auto* host = std::get_if<ByHost>(&home_);
  if (host == nullptr) return absl::OkStatus();
  std::byte* to = host->pages.data() + submission.response_offset;
  return device_->Check(device_->driver().cuMemcpyDtoHAsync_v2(to, at(submission.response_offset),
                                                               submission.response_length, stream_),
                        "copy rows to the host");
}

absl::Status DeviceRows::Land() {
  CrashPoint("landing");
  return device_->Check(device_->driver().cuStreamSynchronize(stream_), "finish rows on the device");
}

absl::Status DeviceRows::CheckDevice() const {
  const cuda::CUresult result = device_->driver().cuStreamQuery(stream_);
  return result == cuda::CUDA_ERROR_NOT_READY ? absl::OkStatus() : device_->Check(result, "use the device");
}

}  // namespace zerohop

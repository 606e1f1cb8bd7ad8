#pragma once

// DeviceRows: where the rows of a lane are born on a GPU, and how the broker
// gets them. Offsets are those of the lane's response arena.
//
//   host      rows lie in device memory of this process; Land has the device copy
//             them into the lane's response pages, which are registered for that
//   cuda_ipc  rows lie in the arena that the broker exported; Land only waits
//
// Either way a completion may be published once Land has returned OK: this
// process has then seen the device finish. Used by the worker alone; the lane
// outlives it.

#include <memory>
#include <optional>
#include <span>
#include <variant>

#include "replica_shim/engine.h"
#include "shm/lane.h"
#include "shm/return_path.h"

namespace zerohop {

class DeviceRows {
 public:
  // The best path that the engine and the offer allow; `taken` says which, and why not another. An error
  // where neither is possible, or the offer requires what is not.
  static absl::StatusOr<DeviceRows> Make(Engine& engine, const ReplicaLane& lane,
                                         const std::optional<DeviceOffer>& offer, ReturnVerdict* taken);

  cuda::CUdeviceptr at(uint64_t offset) const;
  // The rows of a submission are on their way: what brings them to where the broker looks is submitted.
  absl::Status Begin(const Submission& submission);
  // Waits until all that was begun is there. Without a deadline: a device that hangs stops the worker's
  // progress, which the broker watches.
  absl::Status Land();
  // Whether the device can still work. It cannot after an error of a kernel, whose context is lost for good.
  absl::Status CheckDevice() const;

 private:
  struct ByHost {
    DeviceMemory memory;
    RegisteredPages pages;
  };

  DeviceRows(Engine& engine, std::variant<ByHost, ImportedArena> home)
      : device_(engine.device()), stream_(engine.stream()), home_(std::move(home)) {}

  static absl::StatusOr<ByHost> OnHost(const Engine& engine, const ReplicaLane& lane);

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUstream stream_;
  std::variant<ByHost, ImportedArena> home_;
};

}  // namespace zerohop

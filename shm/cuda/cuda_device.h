#pragma once

// CudaDevice: one GPU of this process, with its primary context held: the
// context that frameworks use, too, so pointers and streams of either are valid
// for the other.
//
// Shared by whatever has memory or streams on the device, and let go with the
// last of them. Usable from any thread that has called Enter.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/cuda/cuda_driver.h"

namespace zerohop {

// What a driver says of one device, without a context on it.
struct CudaDeviceFacts {
  int ordinal = 0;     // in this process; another may count otherwise
  std::string uuid;    // "GPU-6c1f…" as nvidia-smi prints it; of a MIG instance its own, with "MIG-"
  std::string name;    // "NVIDIA H100 80GB HBM3"
  std::string bus_id;  // "0000:65:00.0"
  uint64_t total_bytes = 0;
  bool integrated = false;  // shares the host's memory, as Jetson does
  bool unified_addressing = false;
  bool ipc_events = false;
  bool exclusive = false;   // compute mode: one process at a time
  bool prohibited = false;  // compute mode: none
};

// Every device that this process sees. The driver is initialized.
absl::StatusOr<std::vector<CudaDeviceFacts>> ListCudaDevices(const CudaDriver& driver);

// `choice`: an ordinal ("0", "cuda:0") or a UUID, with or without its "GPU-". NotFound names those there are.
absl::StatusOr<CudaDeviceFacts> ChooseCudaDevice(const std::vector<CudaDeviceFacts>& devices,
                                                 const std::string& choice);

class CudaDevice {
 public:
  // `choice` as for ChooseCudaDevice. Loads and initializes the driver; retains the primary context.
  static absl::StatusOr<std::shared_ptr<const CudaDevice>> Open(const std::string& choice);
  // For a driver that is initialized already.
  static absl::StatusOr<std::shared_ptr<const CudaDevice>> Open(const CudaDriver& driver,
                                                                const std::string& choice);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  // Makes the context current for the calling thread; cheap where it is. Unavailable once abandoned.
  absl::Status Enter() const;
  // The device fails or hangs: nothing is asked of it any more, not even to give back what it holds, for
  // which a driver would wait. That is left to the end of the process. Any thread.
  void Abandon() const {
    abandoned_.store(true, std::memory_order_relaxed);  // EDGE(abandon) relaxed: a flag alone
  }
  // As CudaDriver::Check.
  absl::Status Check(cuda::CUresult result, const std::string& doing) const {
    return driver_.Check(result, doing);
  }
  const CudaDriver& driver() const { return driver_; }
  const CudaDeviceFacts& facts() const { return facts_; }
  const std::string& uuid() const { return facts_.uuid; }

 private:
  CudaDevice(const CudaDriver& driver, CudaDeviceFacts facts, cuda::CUdevice device, cuda::CUcontext context)
      : driver_(driver), facts_(std::move(facts)), device_(device), context_(context) {}

  CudaDriver driver_;
  CudaDeviceFacts facts_;
  cuda::CUdevice device_;
  cuda::CUcontext context_;
  mutable std::atomic<bool> abandoned_{false};
};

// A stream of our own: work on it waits for no other stream. Destroyed with the work on it unfinished, it
// leaves that to the driver.
class CudaStream {
 public:
  static absl::StatusOr<CudaStream> Create(std::shared_ptr<const CudaDevice> device);
  CudaStream(CudaStream&& other) noexcept
      : device_(std::move(other.device_)), stream_(std::exchange(other.stream_, nullptr)) {}
  CudaStream& operator=(CudaStream&&) = delete;
  ~CudaStream();

  cuda::CUstream get() const { return stream_; }

 private:
  CudaStream(std::shared_ptr<const CudaDevice> device, cuda::CUstream stream)
      : device_(std::move(device)), stream_(stream) {}

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUstream stream_;
};

}  // namespace zerohop

#pragma once

// ImportProbe: whether another process can open memory of a device of ours, by
// doing it. The other process is this program, started as a replica is: by exec,
// because CUDA does not survive a fork, and in a process of its own, because an
// import may crash or hang.

#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "shm/cuda/cuda_device.h"

namespace zerohop {

// The hidden flag that makes `zerohop doctor` play the other process.
inline constexpr char kOpenExportFlag[] = "--open-export";

// Exports memory and has it opened. OK: the other process found in it what was written. Otherwise one
// sentence; after `patience` without an answer the other process is killed. One that does not end even then
// is left alone, and the device abandoned, because freeing memory that is open elsewhere is undefined.
absl::Status ProbeImport(const std::shared_ptr<const CudaDevice>& device, std::chrono::nanoseconds patience);

// The other process; returns its exit status.
int OpenExport();

}  // namespace zerohop

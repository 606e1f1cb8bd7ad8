#pragma once

// The device's part of a lane: memory for rows that stay on the GPU.
//
// DeviceArena: the broker's end. It owns the memory and exports it; whoever
// dies on the other side frees nothing under anyone.
// ImportedArena: the replica's end, opened once a generation, addressed by offset.
// RegisteredPages: host memory that the device may copy from and to by itself.
// Move-only; each lets go of what it holds on destruction, on any thread.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/cuda/arena_handle.h"
#include "shm/cuda/cuda_device.h"

namespace zerohop {

// Memory below this shares its block with others, and an export shows all of the block.
inline constexpr size_t kDeviceBlockBytes = 2u << 20;

class RegisteredPages {
 public:
  // `address` and `bytes` are multiples of the page size, and stay mapped as long as this lives.
  static absl::StatusOr<RegisteredPages> Register(std::shared_ptr<const CudaDevice> device,
                                                  std::byte* address, size_t bytes);
  RegisteredPages(RegisteredPages&& other) noexcept
      : device_(std::move(other.device_)), address_(std::exchange(other.address_, nullptr)) {}
  RegisteredPages& operator=(RegisteredPages&&) = delete;
  ~RegisteredPages();

  std::byte* data() const { return address_; }

 private:
  RegisteredPages(std::shared_ptr<const CudaDevice> device, std::byte* address)
      : device_(std::move(device)), address_(address) {}

  std::shared_ptr<const CudaDevice> device_;
  std::byte* address_;
};

// Memory of a device that only this process uses.
class DeviceMemory {
 public:
  static absl::StatusOr<DeviceMemory> Allocate(std::shared_ptr<const CudaDevice> device, size_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept
      : device_(std::move(other.device_)), address_(std::exchange(other.address_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&&) = delete;
  ~DeviceMemory();

  cuda::CUdeviceptr address() const { return address_; }
  const CudaDevice& device() const { return *device_; }

 private:
  DeviceMemory(std::shared_ptr<const CudaDevice> device, cuda::CUdeviceptr address)
      : device_(std::move(device)), address_(address) {}

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUdeviceptr address_;
};

class DeviceArena {
 public:
  // `bytes` is rounded up to whole blocks. ResourceExhausted where the device has no room.
  static absl::StatusOr<DeviceArena> Export(const std::shared_ptr<const CudaDevice>& device, size_t bytes);

  const ArenaHandle& handle() const { return handle_; }
  cuda::CUdeviceptr at(uint64_t offset) const { return memory_.address() + offset; }

 private:
  DeviceArena(DeviceMemory memory, ArenaHandle handle)
      : memory_(std::move(memory)), handle_(std::move(handle)) {}

  DeviceMemory memory_;
  ArenaHandle handle_;
};

class ImportedArena {
 public:
  // Looks for the proof in what it opened. One sentence says why not: another device, a process that may not
  // (equal pids), a handle that is no good.
  static absl::StatusOr<ImportedArena> Open(const std::shared_ptr<const CudaDevice>& device,
                                            const ArenaHandle& handle);
  ImportedArena(ImportedArena&& other) noexcept
      : device_(std::move(other.device_)), address_(std::exchange(other.address_, 0)) {}
  ImportedArena& operator=(ImportedArena&&) = delete;
  ~ImportedArena();

  cuda::CUdeviceptr at(uint64_t offset) const { return address_ + offset; }

 private:
  ImportedArena(std::shared_ptr<const CudaDevice> device, cuda::CUdeviceptr address)
      : device_(std::move(device)), address_(address) {}

  std::shared_ptr<const CudaDevice> device_;
  cuda::CUdeviceptr address_;
};

}  // namespace zerohop

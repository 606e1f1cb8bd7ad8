#include "shm/cuda/device_arena.h"

#include "shm/lane_format.h"
#include "shm/random_bits.h"
#include "shm/segment.h"

namespace zerohop {
namespace {

// A word of host memory that copies may begin and end in.
class RegisteredWord {
 public:
  static absl::StatusOr<RegisteredWord> Make(const std::shared_ptr<const CudaDevice>& device) {
    auto page = Segment::Create("zerohop-proof", kPageBytes, Access::kReadWrite);
    if (!page.ok()) return page.status();
    auto registered = RegisteredPages::Register(device, page->data(), kPageBytes);
    if (!registered.ok()) return registered.status();
    return RegisteredWord(*std::move(page), *std::move(registered));
  }
  uint64_t* get() const { return reinterpret_cast<uint64_t*>(page_.data()); }

 private:
  RegisteredWord(Segment page, RegisteredPages registered)
      : page_(std::move(page)), registered_(std::move(registered)) {}

  Segment page_;
  RegisteredPages registered_;  // goes first
};

absl::Status CopyOneWord(const CudaDevice& device, const CudaStream& stream, cuda::CUresult submitted,
                         const std::string& doing) {
  if (absl::Status ok = device.Check(submitted, doing); !ok.ok()) return ok;
  return device.Check(device.driver().cuStreamSynchronize(stream.get()), doing);
}

absl::Status WriteProof(const std::shared_ptr<const CudaDevice>& device, cuda::CUdeviceptr at,
                        uint64_t proof) {
  auto stream = CudaStream::Create(device);
  if (!stream.ok()) return stream.status();
  auto word = RegisteredWord::Make(device);
  if (!word.ok()) return word.status();
  *word->get() = proof;
  return CopyOneWord(*device, *stream,
                     device->driver().cuMemcpyHtoDAsync_v2(at, word->get(), sizeof proof, stream->get()),
                     "write to the device arena");
}

absl::StatusOr<uint64_t> ReadProof(const std::shared_ptr<const CudaDevice>& device, cuda::CUdeviceptr at) {
  auto stream = CudaStream::Create(device);
  if (!stream.ok()) return stream.status();
  auto word = RegisteredWord::Make(device);
  if (!word.ok()) return word.status();
  absl::Status read =
      CopyOneWord(*device, *stream,
                  device->driver().cuMemcpyDtoHAsync_v2(word->get(), at, sizeof(uint64_t), stream->get()),
                  "read the device arena");
  if (!read.ok()) return read;
  return *word->get();
}

}  // namespace

absl::StatusOr<RegisteredPages> RegisteredPages::Register(std::shared_ptr<const CudaDevice> device,
                                                          std::byte* address, size_t bytes) {
  if (absl::Status entered = device->Enter(); !entered.ok()) return entered;
  const auto result =
      device->driver().cuMemHostRegister_v2(address, bytes, cuda::CU_MEMHOSTREGISTER_PORTABLE);
  const std::string doing = "register " + std::to_string(bytes) + " bytes of host memory";
  if (absl::Status ok = device->Check(result, doing); !ok.ok()) return ok;
  return RegisteredPages(std::move(device), address);
}

RegisteredPages::~RegisteredPages() {
  if (address_ != nullptr && device_->Enter().ok()) (void)device_->driver().cuMemHostUnregister(address_);
}

absl::StatusOr<DeviceMemory> DeviceMemory::Allocate(std::shared_ptr<const CudaDevice> device, size_t bytes) {
  if (absl::Status entered = device->Enter(); !entered.ok()) return entered;
  cuda::CUdeviceptr address = 0;
  const auto result = device->driver().cuMemAlloc_v2(&address, bytes);
  const std::string doing = "allocate " + std::to_string(bytes) + " bytes on " + device->uuid();
  if (absl::Status ok = device->Check(result, doing); !ok.ok()) return ok;
  return DeviceMemory(std::move(device), address);
}

DeviceMemory::~DeviceMemory() {
  if (address_ != 0 && device_->Enter().ok()) (void)device_->driver().cuMemFree_v2(address_);
}

absl::StatusOr<DeviceArena> DeviceArena::Export(const std::shared_ptr<const CudaDevice>& device,
                                                size_t bytes) {
  ArenaHandle handle;
  handle.device = device->uuid();
  handle.bytes = (bytes + kDeviceBlockBytes - 1) / kDeviceBlockBytes * kDeviceBlockBytes;
  handle.proof = RandomBits();
  auto memory = DeviceMemory::Allocate(device, handle.bytes);
  if (!memory.ok()) return memory.status();
  const auto exported = device->driver().cuIpcGetMemHandle(&handle.ipc, memory->address());
  if (absl::Status ok = device->Check(exported, "export the device arena"); !ok.ok()) return ok;
  if (absl::Status written = WriteProof(device, memory->address(), handle.proof); !written.ok()) {
    return written;
  }
  return DeviceArena(*std::move(memory), std::move(handle));
}

absl::StatusOr<ImportedArena> ImportedArena::Open(const std::shared_ptr<const CudaDevice>& device,
                                                  const ArenaHandle& handle) {
  if (device->uuid() != handle.device) {
    return absl::InvalidArgumentError("the arena is on device " + handle.device + ", the engine on " +
                                      device->uuid());
  }
  if (absl::Status entered = device->Enter(); !entered.ok()) return entered;
  const CudaDriver& driver = device->driver();
  cuda::CUdeviceptr address = 0;
  const auto opened =
      driver.cuIpcOpenMemHandle_v2(&address, handle.ipc, cuda::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  // The driver takes an exporter with our own pid for ourselves.
  if (opened == cuda::CUDA_ERROR_INVALID_CONTEXT) {
    return absl::FailedPreconditionError(
        "cannot open the device arena: the driver sees one process at both ends, as it does where pids are "
        "equal in two namespaces; share the pid namespace (--pid=host)");
  }
  if (absl::Status ok = device->Check(opened, "open the device arena"); !ok.ok()) return ok;
  ImportedArena arena(device, address);
  cuda::CUdeviceptr base = 0;
  size_t bytes = 0;
  const auto ranged = driver.cuMemGetAddressRange_v2(&base, &bytes, address);
  if (absl::Status ok = device->Check(ranged, "measure the device arena"); !ok.ok()) return ok;
  if (base != address || bytes < handle.bytes) {
    return absl::InvalidArgumentError("the device arena has " + std::to_string(bytes) + " bytes, expected " +
                                      std::to_string(handle.bytes));
  }
  auto proof = ReadProof(device, address);
  if (!proof.ok()) return proof.status();
  if (*proof != handle.proof) {
    return absl::InternalError("what was opened is not the device arena: it holds another proof");
  }
  return arena;
}

ImportedArena::~ImportedArena() {
  if (address_ != 0 && device_->Enter().ok()) (void)device_->driver().cuIpcCloseMemHandle(address_);
}

}  // namespace zerohop

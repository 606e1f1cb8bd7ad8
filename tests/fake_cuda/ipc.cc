#include "tests/fake_cuda/ipc.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "tests/fake_cuda/departure.h"
#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/events.h"
#include "tests/fake_cuda/ipc_handle.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

// `record`: what the slot holds, an allocation or an event.
template <typename Record>
HandleImage ImageOf(const Registry& registry, HandleKind kind, const Record& record, uint32_t slot) {
  HandleImage image{};
  image.kind = kind;
  image.device_hash = DeviceHash(registry.devices[record.device].uuid);
  image.exporter_pid = ShownPid();
  image.exporter_start_time = StartTime(::getpid());
  image.slot = slot;
  image.generation = record.generation;
  image.nonce = record.nonce;
  return image;
}

bool Visible(const Registry& registry, uint64_t device_hash) {
  for (int ordinal = 0; ordinal < VisibleDevices(); ++ordinal) {
    if (DeviceHash(registry.devices[VisibleDevice(ordinal)].uuid) == device_hash) return true;
  }
  return false;
}

// Of a handle that names nothing, or no more.
cuda::CUresult StaleError() {
  return TheSettings().stale_error.value_or(cuda::CUDA_ERROR_INVALID_VALUE);
}

// The same of memory: where the exporter was killed an H200's driver says 400. Once the dead are settled.
cuda::CUresult StaleMemoryError(const Registry& registry, const HandleImage& image) {
  const bool exporter_lives =
      std::any_of(std::begin(registry.processes), std::end(registry.processes), [&](const auto& process) {
        return process.pid != 0 && process.shown_pid == image.exporter_pid &&
               process.start_time == image.exporter_start_time;
      });
  if (exporter_lives) return StaleError();
  return TheSettings().stale_error.value_or(cuda::CUDA_ERROR_INVALID_HANDLE);
}

// What both kinds of opening check first. Success, or why not.
cuda::CUresult Admit(const Registry& registry, const std::optional<HandleImage>& image) {
  if (!image) return StaleError();
  // By process id alone, as in the driver: so the same ids in two namespaces meet here, too.
  if (image->exporter_pid == ShownPid()) return cuda::CUDA_ERROR_INVALID_CONTEXT;
  if (!Visible(registry, image->device_hash) && !TheSettings().hidden_devices_open) {
    return cuda::CUDA_ERROR_INVALID_VALUE;
  }
  return cuda::CUDA_SUCCESS;
}

bool Names(const AllocationRecord& allocation, const HandleImage& image) {
  return allocation.state == AllocationState::kLive && allocation.generation == image.generation &&
         allocation.nonce == image.nonce;
}

// Maps the block around an allocation and counts the import, under the lock that checked it.
std::optional<Range> MapImport(Registry& registry, const HandleImage& image,
                               const std::shared_ptr<Context>& context) {
  AllocationRecord& allocation = registry.allocations[image.slot];
  Range range{};
  range.kind = RangeKind::kImport;
  range.context = context;
  range.slot = image.slot;
  range.generation = image.generation;
  range.bytes = registry.blocks[allocation.block].bytes;
  range.import_offset = allocation.offset;
  range.opens = 1;
  range.exporter_pid = image.exporter_pid;
  range.exporter_start_time = image.exporter_start_time;
  range.shadow = MapBlock(registry, allocation.block);
  if (range.shadow == nullptr) return std::nullopt;
  range.data = range.shadow->data();
  ++allocation.imports[Self()];
  Count(registry, Counter::mappings);
  return range;
}

}  // namespace

cuda::CUresult ExportMemory(cuda::CUipcMemHandle* handle, cuda::CUdeviceptr address) {
  if (handle == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  const auto range = FindRange(address);
  if (!range || range->kind != RangeKind::kOwn) return cuda::CUDA_ERROR_INVALID_VALUE;
  if (range->base != address && TheSettings().strict) return cuda::CUDA_ERROR_INVALID_VALUE;
  const RegistryLock registry;
  const AllocationRecord& allocation = registry->allocations[range->slot];
  Seal(ImageOf(*registry, HandleKind::kMemory, allocation, range->slot), handle->reserved);
  Count(*registry, Counter::exports);
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult OpenMemory(const std::shared_ptr<Context>& context, cuda::CUdeviceptr* address,
                          const cuda::CUipcMemHandle& handle, unsigned flags) {
  if (address == nullptr || flags != cuda::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) {
    return cuda::CUDA_ERROR_INVALID_VALUE;
  }
  const auto image = Unseal(handle.reserved, HandleKind::kMemory);
  std::optional<Range> range;
  {
    const RegistryLock registry;
    SettleDead(*registry);
    const cuda::CUresult admitted = Admit(*registry, image);
    if (admitted != cuda::CUDA_SUCCESS) return admitted;
    if (image->slot >= kMaxAllocations || !Names(registry->allocations[image->slot], *image)) {
      return StaleMemoryError(*registry, *image);
    }
    Count(*registry, Counter::opens);
  }
  if (ImportedElsewhere(*context, image->exporter_pid, image->exporter_start_time)) {
    return cuda::CUDA_ERROR_INVALID_HANDLE;
  }
  if (const auto open = FindImport(*context, image->slot, image->generation)) {
    ChangeOpens(open->base, +1);
    *address = open->base + open->import_offset;
    return cuda::CUDA_SUCCESS;
  }
  {
    const RegistryLock registry;
    // Once more: it may have been freed while we looked at our own imports.
    if (!Names(registry->allocations[image->slot], *image)) return StaleMemoryError(*registry, *image);
    range = MapImport(*registry, *image, context);
  }
  if (!range) return cuda::CUDA_ERROR_MAP_FAILED;
  const uint64_t offset = range->import_offset;
  *address = AddRange(std::move(*range)) + offset;
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult CloseMemory(cuda::CUdeviceptr address) {
  const auto range = FindRange(address);
  if (!range || range->kind != RangeKind::kImport || range->base + range->import_offset != address) {
    return cuda::CUDA_ERROR_INVALID_VALUE;
  }
  {
    const RegistryLock registry;
    Count(*registry, Counter::closes);
  }
  if (ChangeOpens(range->base, -1) > 0) return cuda::CUDA_SUCCESS;
  if (!RemoveRange(range->base)) return cuda::CUDA_ERROR_INVALID_VALUE;
  const RegistryLock registry;
  AllocationRecord& allocation = registry->allocations[range->slot];
  --allocation.imports[Self()];
  ReleaseIfUnused(*registry, range->slot);
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult ExportEvent(cuda::CUipcEventHandle* handle, cuda::CUevent event) {
  if (handle == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  const auto found = FindEvent(event);
  if (found == nullptr || !found->interprocess || found->imported) return cuda::CUDA_ERROR_INVALID_HANDLE;
  const RegistryLock registry;
  const EventRecord& record = registry->events[found->slot];
  Seal(ImageOf(*registry, HandleKind::kEvent, record, found->slot), handle->reserved);
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult OpenEvent(const std::shared_ptr<Context>& context, cuda::CUevent* event,
                         const cuda::CUipcEventHandle& handle) {
  if (event == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  const auto image = Unseal(handle.reserved, HandleKind::kEvent);
  {
    const RegistryLock registry;
    SettleDead(*registry);
    const cuda::CUresult admitted = Admit(*registry, image);
    if (admitted != cuda::CUDA_SUCCESS) return admitted;
    if (image->slot >= kMaxEvents) return StaleError();
    EventRecord& record = registry->events[image->slot];
    if (record.generation != image->generation || record.nonce != image->nonce ||
        record.destroyed_by_owner != 0 || record.owner == kNobody) {
      return StaleError();
    }
    ++record.holders;
    ++record.held[Self()];
  }
  *event = AddImportedEvent(context, image->slot, image->generation);
  return cuda::CUDA_SUCCESS;
}

}  // namespace zerohop::fake_cuda

#include "tests/fake_cuda/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "tests/fake_cuda/containing.h"
#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/registry.h"

namespace zerohop::fake_cuda {
namespace {

struct Registration {
  uintptr_t bytes;
  cuda::CUdeviceptr device_address;  // 0: not mapped for the device
};

struct Registrations {
  std::shared_mutex lock;
  std::map<uintptr_t, Registration> by_base;
};

Registrations& TheRegistrations() {
  static Registrations& registrations = *new Registrations;
  return registrations;
}

bool Overlaps(Registrations& all, uintptr_t address, size_t bytes) {
  if (Containing(all.by_base, address) != all.by_base.end()) return true;
  const auto next = all.by_base.lower_bound(address);
  return next != all.by_base.end() && next->first < address + bytes;
}

bool AllMapped(uintptr_t address, size_t bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = address / page * page;
  const size_t length = address + bytes - first;
  std::vector<unsigned char> resident((length + page - 1) / page);
  return ::mincore(reinterpret_cast<void*>(first), length, resident.data()) == 0;
}

}  // namespace

cuda::CUresult RegisterHost(const std::shared_ptr<Context>& context, void* address, size_t bytes,
                            unsigned flags) {
  constexpr unsigned kKnown = cuda::CU_MEMHOSTREGISTER_PORTABLE | cuda::CU_MEMHOSTREGISTER_DEVICEMAP;
  const auto base = reinterpret_cast<uintptr_t>(address);
  if (address == nullptr || bytes == 0 || (flags & ~kKnown) != 0) return cuda::CUDA_ERROR_INVALID_VALUE;
  if (!AllMapped(base, bytes)) return cuda::CUDA_ERROR_INVALID_VALUE;
  Registrations& all = TheRegistrations();
  const std::unique_lock guard(all.lock);
  if (Overlaps(all, base, bytes)) return cuda::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  Registration& registration = all.by_base[base];
  registration = {bytes, 0};
  if ((flags & cuda::CU_MEMHOSTREGISTER_DEVICEMAP) != 0) {
    Range range{};
    range.kind = RangeKind::kMappedHost;
    range.bytes = bytes;
    range.context = context;
    range.data = static_cast<std::byte*>(address);
    registration.device_address = AddRange(std::move(range));
  }
  Count(SharedWords(), Counter::registrations);
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult UnregisterHost(void* address) {
  if (address == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  Registrations& all = TheRegistrations();
  const std::unique_lock guard(all.lock);
  const auto found = all.by_base.find(reinterpret_cast<uintptr_t>(address));
  if (found == all.by_base.end()) return cuda::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  if (found->second.device_address != 0) RemoveRange(found->second.device_address);
  all.by_base.erase(found);
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult HostDevicePointer(cuda::CUdeviceptr* device_address, void* address) {
  if (device_address == nullptr) return cuda::CUDA_ERROR_INVALID_VALUE;
  Registrations& all = TheRegistrations();
  const std::shared_lock guard(all.lock);
  const auto asked = reinterpret_cast<uintptr_t>(address);
  const auto found = Containing(all.by_base, asked);
  if (found == all.by_base.end() || found->second.device_address == 0) return cuda::CUDA_ERROR_INVALID_VALUE;
  *device_address = found->second.device_address + (asked - found->first);
  return cuda::CUDA_SUCCESS;
}

bool Registered(const void* address, size_t bytes) {
  Registrations& all = TheRegistrations();
  const std::shared_lock guard(all.lock);
  const auto asked = reinterpret_cast<uintptr_t>(address);
  const auto found = Containing(all.by_base, asked);
  return found != all.by_base.end() && bytes <= found->second.bytes - (asked - found->first);
}

uint64_t CountRegistrations() {
  Registrations& all = TheRegistrations();
  const std::shared_lock guard(all.lock);
  return all.by_base.size();
}

}  // namespace zerohop::fake_cuda

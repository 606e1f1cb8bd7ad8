#include "tests/fake_cuda/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <vector>

#include "tests/fake_cuda/containing.h"
#include "tests/fake_cuda/departure.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"
#include "tests/fake_cuda/undefined.h"

namespace zerohop::fake_cuda {
namespace {

constexpr uint64_t kWindowBytes = 256ULL << 30;
constexpr uint64_t kRandomStartBytes = 64ULL << 30;

// Hands out addresses. Freed ones stay out of use, so that a late use of one is
// seen; with FAKECU_VA_REUSE they come back at once, to see what that does.
class AddressWindow {
 public:
  AddressWindow() {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* window = ::mmap(nullptr, kWindowBytes, PROT_NONE, flags, -1, 0);
    if (window == MAP_FAILED) {
      std::fprintf(stderr, "fake_cuda: cannot reserve device addresses\n");
      std::abort();
    }
    const uint64_t base = (reinterpret_cast<uint64_t>(window) + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    next_ = base + std::random_device()() % (kRandomStartBytes / kBlockBytes) * kBlockBytes;
  }

  cuda::CUdeviceptr Take(uint64_t bytes) {
    std::vector<cuda::CUdeviceptr>& freed = freed_[bytes];
    if (!freed.empty()) {
      const cuda::CUdeviceptr address = freed.back();
      freed.pop_back();
      return address;
    }
    const cuda::CUdeviceptr address = next_;
    // At least one page between any two ranges belongs to none.
    next_ += (bytes + 2 * kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    return address;
  }

  void GiveBack(cuda::CUdeviceptr address, uint64_t bytes) {
    if (TheSettings().reuse_addresses) freed_[bytes].push_back(address);
  }

 private:
  cuda::CUdeviceptr next_;
  std::map<uint64_t, std::vector<cuda::CUdeviceptr>> freed_;  // by size
};

// Streams look ranges up under the shared side of the lock, which orders them
// with nobody but whoever changes the map.
struct Ranges {
  std::shared_mutex lock;
  AddressWindow window;
  std::map<cuda::CUdeviceptr, Range> by_base;
  uint64_t next_buffer_id = 1;
};

Ranges& TheRanges() {
  static Ranges& ranges = *new Ranges;
  return ranges;
}

void EndOwn(const Range& range) {
  const RegistryLock registry;
  // An importer that is dead imports no more.
  if (Imported(registry->allocations[range.slot])) SettleDead(*registry);
  if (Imported(registry->allocations[range.slot])) {
    Undefined(*registry, "cuMemFree of memory that another process imports", Blame::kUs);
  }
  EndAllocation(*registry, range.slot, AllocationState::kFreed);
}

}  // namespace

cuda::CUresult Allocate(const std::shared_ptr<Context>& context, size_t bytes, cuda::CUdeviceptr* address) {
  if (address == nullptr || bytes == 0) return cuda::CUDA_ERROR_INVALID_VALUE;
  Range range{};
  range.kind = RangeKind::kOwn;
  range.context = context;
  {
    const RegistryLock registry;
    if (bytes > registry->devices[context->device].total_bytes) return cuda::CUDA_ERROR_OUT_OF_MEMORY;
    range.slot = MakeAllocation(*registry, Self(), context->device, bytes);
    if (range.slot == kNobody) return cuda::CUDA_ERROR_OUT_OF_MEMORY;
    const AllocationRecord& allocation = registry->allocations[range.slot];
    range.generation = allocation.generation;
    range.bytes = allocation.bytes;
    range.shadow = MapBlock(*registry, allocation.block);
    if (range.shadow == nullptr) {
      EndAllocation(*registry, range.slot, AllocationState::kFreed);
      return cuda::CUDA_ERROR_OUT_OF_MEMORY;
    }
    range.data = range.shadow->data() + allocation.offset;
    Count(*registry, Counter::allocations);
  }
  std::memset(range.data, kFakeCudaFresh, range.bytes);
  *address = AddRange(std::move(range));
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult Free(cuda::CUdeviceptr address) {
  const auto range = FindRange(address);
  if (!range || range->base != address || range->kind != RangeKind::kOwn) {
    return cuda::CUDA_ERROR_INVALID_VALUE;
  }
  if (!RemoveRange(address)) return cuda::CUDA_ERROR_INVALID_VALUE;
  EndOwn(*range);
  return cuda::CUDA_SUCCESS;
}

void FreeAllOf(const Context& context) {
  std::vector<Range> ended;
  {
    Ranges& ranges = TheRanges();
    const std::unique_lock guard(ranges.lock);
    for (auto it = ranges.by_base.begin(); it != ranges.by_base.end();) {
      const bool its = it->second.context->id == context.id;
      if (its) ended.push_back(it->second);
      it = its ? ranges.by_base.erase(it) : std::next(it);
    }
  }
  for (const Range& range : ended) {
    if (range.kind == RangeKind::kOwn) EndOwn(range);
    if (range.kind != RangeKind::kImport) continue;
    const RegistryLock registry;
    registry->allocations[range.slot].imports[Self()] = 0;
    ReleaseIfUnused(*registry, range.slot);
  }
}

cuda::CUdeviceptr AddRange(Range range) {
  Ranges& ranges = TheRanges();
  const std::unique_lock guard(ranges.lock);
  range.base = ranges.window.Take(range.bytes);
  range.buffer_id = ranges.next_buffer_id++;
  const cuda::CUdeviceptr base = range.base;
  ranges.by_base.emplace(base, std::move(range));
  return base;
}

bool RemoveRange(cuda::CUdeviceptr base) {
  Ranges& ranges = TheRanges();
  const std::unique_lock guard(ranges.lock);
  const auto found = ranges.by_base.find(base);
  if (found == ranges.by_base.end()) return false;
  ranges.window.GiveBack(base, found->second.bytes);
  ranges.by_base.erase(found);
  return true;
}

std::optional<Range> FindRange(cuda::CUdeviceptr address) {
  Ranges& ranges = TheRanges();
  const std::shared_lock guard(ranges.lock);
  const auto found = Containing(ranges.by_base, address);
  if (found == ranges.by_base.end()) return std::nullopt;
  return found->second;
}

std::optional<Range> FindImport(const Context& context, uint32_t slot, uint64_t generation) {
  Ranges& ranges = TheRanges();
  const std::shared_lock guard(ranges.lock);
  for (const auto& [base, range] : ranges.by_base) {
    if (range.kind == RangeKind::kImport && range.context->id == context.id && range.slot == slot &&
        range.generation == generation) {
      return range;
    }
  }
  return std::nullopt;
}

bool ImportedElsewhere(const Context& context, int exporter_pid, uint64_t exporter_start_time) {
  Ranges& ranges = TheRanges();
  const std::shared_lock guard(ranges.lock);
  return std::any_of(ranges.by_base.begin(), ranges.by_base.end(), [&](const auto& entry) {
    const Range& range = entry.second;
    return range.kind == RangeKind::kImport && range.context->id != context.id &&
           range.context->device == context.device && range.exporter_pid == exporter_pid &&
           range.exporter_start_time == exporter_start_time;
  });
}

unsigned ChangeOpens(cuda::CUdeviceptr base, int by) {
  Ranges& ranges = TheRanges();
  const std::unique_lock guard(ranges.lock);
  const auto found = ranges.by_base.find(base);
  if (found == ranges.by_base.end()) return 0;
  found->second.opens += static_cast<unsigned>(by);
  return found->second.opens;
}

std::optional<Reach> ReachDevice(cuda::CUdeviceptr address, size_t bytes) {
  const auto range = FindRange(address);
  if (!range) return std::nullopt;
  const uint64_t offset = address - range->base;
  if (bytes > range->bytes - offset) return std::nullopt;
  return Reach{range->data + offset, range->shadow};
}

uint64_t CountRanges(RangeKind kind) {
  Ranges& ranges = TheRanges();
  const std::shared_lock guard(ranges.lock);
  return static_cast<uint64_t>(std::count_if(ranges.by_base.begin(), ranges.by_base.end(),
                                             [&](const auto& entry) { return entry.second.kind == kind; }));
}

}  // namespace zerohop::fake_cuda

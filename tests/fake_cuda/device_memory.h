#pragma once

// Device addresses of this process: its own allocations, its imports, and host
// memory it mapped for the device.
//
// Addresses come from a window that is reserved and never accessible, at another
// place in every process: who reads a device pointer on the host, or sends one
// to another process, faults. The bytes behind are mapped elsewhere (Shadow),
// where only the emulator looks.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"
#include "tests/fake_cuda/physical_memory.h"

namespace zerohop::fake_cuda {

enum class RangeKind { kOwn, kImport, kMappedHost };

// A range of device addresses.
struct Range {
  cuda::CUdeviceptr base;
  uint64_t bytes;
  RangeKind kind;
  uint64_t buffer_id;  // never the same twice in a process
  std::shared_ptr<Context> context;
  uint32_t slot = kNobody;  // its AllocationRecord, and the generation thereof
  uint64_t generation = 0;
  uint64_t import_offset = 0;        // of the allocation within an imported block
  unsigned opens = 0;                // of an import
  uint64_t exporter_start_time = 0;  // likewise, and its process id
  int exporter_pid = 0;
  std::shared_ptr<Shadow> shadow;
  std::byte* data = nullptr;  // the first byte, wherever it is
};

// Device memory that stays mapped as long as this lives.
struct Reach {
  std::byte* data;
  std::shared_ptr<Shadow> keep;
};

// Results as those of cuMemAlloc and cuMemFree.
cuda::CUresult Allocate(const std::shared_ptr<Context>& context, size_t bytes, cuda::CUdeviceptr* address);
cuda::CUresult Free(cuda::CUdeviceptr address);

// Frees and closes all that a context has: its end.
void FreeAllOf(const Context& context);

// Gives a range that has all but its addresses those, and remembers it.
cuda::CUdeviceptr AddRange(Range range);
// False where another thread did so already.
bool RemoveRange(cuda::CUdeviceptr base);

// The range an address lies in; a copy.
std::optional<Range> FindRange(cuda::CUdeviceptr address);
// An import of this context of that allocation, and one of any other context from that exporter's device.
std::optional<Range> FindImport(const Context& context, uint32_t slot, uint64_t generation);
bool ImportedElsewhere(const Context& context, int exporter_pid, uint64_t exporter_start_time);
// Counts the opens of an import up or down; how many there are then.
unsigned ChangeOpens(cuda::CUdeviceptr base, int by);

// The bytes of a device range, if all of them are allocated.
std::optional<Reach> ReachDevice(cuda::CUdeviceptr address, size_t bytes);

uint64_t CountRanges(RangeKind kind);

}  // namespace zerohop::fake_cuda

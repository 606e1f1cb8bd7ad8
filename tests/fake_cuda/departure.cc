#include "tests/fake_cuda/departure.h"

#include "tests/fake_cuda/physical_memory.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/undefined.h"

namespace zerohop::fake_cuda {
namespace {

void SettleAllocation(Registry& registry, uint32_t slot, uint32_t process, Farewell farewell) {
  AllocationRecord& allocation = registry.allocations[slot];
  if (allocation.imports[process] != 0) {
    allocation.imports[process] = 0;
    ReleaseIfUnused(registry, slot);
  }
  if (allocation.state != AllocationState::kLive || allocation.owner != process) return;
  if (Imported(allocation)) {
    Undefined(registry, "a process exited while others import its memory",
              farewell == Farewell::kKilled ? Blame::kKiller : Blame::kUs);
  }
  EndAllocation(registry, slot, AllocationState::kOrphan);
}

void SettleEvent(EventRecord& event, uint32_t process, Farewell farewell) {
  // Records that were pending stay so for ever: their streams are gone.
  event.holders -= event.held[process];
  event.held[process] = 0;
  if (event.owner == process) {
    event.owner = kNobody;
    // Of a killed process, the event as such is still a good one.
    if (farewell == Farewell::kExited) event.destroyed_by_owner = 1;
  }
  if (event.holders == 0) event = {};
}

bool Alive(const ProcessRecord& process) {
  // Of another namespace we cannot tell.
  return process.pid_namespace != PidNamespace() || StartTime(process.pid) == process.start_time;
}

}  // namespace

void Settle(Registry& registry, uint32_t process, Farewell farewell) {
  for (uint32_t slot = 0; slot < kMaxAllocations; ++slot) {
    if (registry.allocations[slot].state != AllocationState::kFree) {
      SettleAllocation(registry, slot, process, farewell);
    }
  }
  for (EventRecord& event : registry.events) {
    if (event.generation != 0) SettleEvent(event, process, farewell);
  }
  ProcessRecord& gone = registry.processes[process];
  for (size_t i = 0; i < kCounters; ++i) {
    registry.departed_counters[i] += gone.counters[i].exchange(0);
  }
  gone.pid = 0;
}

void SettleDead(Registry& registry) {
  for (uint32_t i = 0; i < kMaxProcesses; ++i) {
    const ProcessRecord& process = registry.processes[i];
    if (process.pid == 0 || Alive(process)) continue;
    Settle(registry, i, Farewell::kKilled);
    ReleaseUnusedBlocks(registry);
  }
}

}  // namespace zerohop::fake_cuda

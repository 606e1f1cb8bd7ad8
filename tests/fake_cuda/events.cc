#include "tests/fake_cuda/events.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>
#include <random>

#include "tests/fake_cuda/handle_table.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"
#include "tests/fake_cuda/undefined.h"

namespace zerohop::fake_cuda {
namespace {

using Events = HandleTable<cuda::CUevent, Event>;

Events& TheEvents() {
  static Events& events = *new Events(0xE7'0000'0000);
  return events;
}

cuda::CUevent Add(Event event) {
  return TheEvents().Add(std::make_shared<Event>(std::move(event)));
}

uint32_t FreeSlot(const Registry& registry) {
  for (uint32_t slot = 0; slot < kMaxEvents; ++slot) {
    if (registry.events[slot].generation == 0) return slot;
  }
  return kNobody;
}

bool Pending(const Registry& registry, const Moment& moment) {
  const EventRecord& record = registry.events[moment.slot];
  if (moment.record == 0 || record.generation != moment.generation) return false;
  return std::find(std::begin(record.pending), std::end(record.pending), moment.record) !=
         std::end(record.pending);
}

// The event's maker destroyed it under us.
bool Orphaned(Registry& registry, const Event& event) {
  if (registry.events[event.slot].destroyed_by_owner == 0 || !event.imported) return false;
  Undefined(registry, "use of an event that its exporter destroyed", Blame::kUs);
  return true;
}

// Nobody has a handle any more, and no stream waits for a record or will complete one.
bool Over(const EventRecord& record) {
  return record.holders == 0 &&
         std::all_of(std::begin(record.pending), std::end(record.pending), [](uint64_t n) { return n == 0; });
}

void RingEventBell() {
  std::atomic<uint32_t>& bell = SharedWords().event_bell;
  ++bell;
  ::syscall(SYS_futex, &bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

cuda::CUresult CreateEvent(const std::shared_ptr<Context>& context, cuda::CUevent* handle, unsigned flags) {
  constexpr unsigned kKnown =
      cuda::CU_EVENT_BLOCKING_SYNC | cuda::CU_EVENT_DISABLE_TIMING | cuda::CU_EVENT_INTERPROCESS;
  if (handle == nullptr || (flags & ~kKnown) != 0) return cuda::CUDA_ERROR_INVALID_VALUE;
  const bool interprocess = (flags & cuda::CU_EVENT_INTERPROCESS) != 0;
  if (interprocess && (flags & cuda::CU_EVENT_DISABLE_TIMING) == 0) return cuda::CUDA_ERROR_INVALID_VALUE;
  Event event{context, 0, 0, interprocess, false};
  {
    const RegistryLock registry;
    const auto shared = std::count_if(std::begin(registry->events), std::end(registry->events),
                                      [](const EventRecord& other) { return other.interprocess != 0; });
    if (interprocess && shared >= TheSettings().max_events) return cuda::CUDA_ERROR_OUT_OF_MEMORY;
    event.slot = FreeSlot(*registry);
    if (event.slot == kNobody) return cuda::CUDA_ERROR_OUT_OF_MEMORY;
    event.generation = ++registry->next_generation;
    EventRecord& record = registry->events[event.slot];
    record = {};
    record.nonce = (uint64_t{std::random_device()()} << 32) | std::random_device()();
    record.owner = Self();
    record.device = context->device;
    record.interprocess = interprocess ? 1 : 0;
    record.holders = 1;
    record.held[Self()] = 1;
    record.generation = event.generation;
  }
  *handle = Add(event);
  return cuda::CUDA_SUCCESS;
}

cuda::CUevent AddImportedEvent(const std::shared_ptr<Context>& context, uint32_t slot, uint64_t generation) {
  return Add({context, slot, generation, true, true});
}

std::shared_ptr<Event> FindEvent(cuda::CUevent handle) {
  return TheEvents().Find(handle);
}

cuda::CUresult DestroyEvent(cuda::CUevent handle) {
  const std::shared_ptr<Event> event = TheEvents().Remove(handle);
  if (event == nullptr) return cuda::CUDA_ERROR_INVALID_HANDLE;
  const RegistryLock registry;
  EventRecord& record = registry->events[event->slot];
  if (record.generation != event->generation) return cuda::CUDA_SUCCESS;
  if (!event->imported) record.destroyed_by_owner = 1;
  --record.held[Self()];
  --record.holders;
  if (Over(record)) record = {};
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult BeginRecord(const Event& event, Moment* moment) {
  const RegistryLock registry;
  (void)Orphaned(*registry, event);
  EventRecord& record = registry->events[event.slot];
  const auto free = std::find(std::begin(record.pending), std::end(record.pending), 0);
  if (free == std::end(record.pending)) return cuda::CUDA_ERROR_OUT_OF_MEMORY;
  *free = ++record.last_record;
  *moment = {event.slot, event.generation, *free};
  return cuda::CUDA_SUCCESS;
}

void Complete(const Moment& moment) {
  {
    const RegistryLock registry;
    EventRecord& record = registry->events[moment.slot];
    if (record.generation != moment.generation) return;
    std::replace(std::begin(record.pending), std::end(record.pending), moment.record, uint64_t{0});
    if (Over(record)) record = {};
  }
  RingEventBell();
}

Moment Latest(const Event& event) {
  const RegistryLock registry;
  const bool looks_done = Orphaned(*registry, event) && UndefinedHurts();
  return {event.slot, event.generation, looks_done ? 0 : registry->events[event.slot].last_record};
}

bool Done(const Moment& moment) {
  const RegistryLock registry;
  return !Pending(*registry, moment);
}

void Await(const Moment& moment, const Context& waiting) {
  std::atomic<uint32_t>& bell = SharedWords().event_bell;
  for (;;) {
    const uint32_t before = bell;
    if (Done(moment) || waiting.broken != 0) return;
    // Bounded, because whoever completes a record may be killed before it rings, and a context breaks
    // silently.
    const timespec soon{.tv_sec = 0, .tv_nsec = 100'000'000};
    ::syscall(SYS_futex, &bell, FUTEX_WAIT, before, &soon, nullptr, 0);
  }
}

uint64_t CountEvents() {
  return TheEvents().size();
}

}  // namespace zerohop::fake_cuda

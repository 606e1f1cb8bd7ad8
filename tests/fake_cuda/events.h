#pragma once

// Events, within a process and across processes alike: a record of work in a
// stream gets a number, which is pending until the stream came to it. Who waits
// or asks means the latest record at the time of the call.

#include <cstdint>
#include <memory>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/contexts.h"

namespace zerohop::fake_cuda {

// A process's handle to an event.
struct Event {
  std::shared_ptr<Context> context;
  uint32_t slot;  // its EventRecord, and the generation thereof
  uint64_t generation;
  bool interprocess;
  bool imported;
};

// A moment in a stream to wait for.
struct Moment {
  uint32_t slot;
  uint64_t generation;
  uint64_t record;  // 0: nothing was recorded, nothing is to be waited for
};

// Results as those of the driver's functions. FindEvent: null for a handle of no event.
cuda::CUresult CreateEvent(const std::shared_ptr<Context>& context, cuda::CUevent* handle, unsigned flags);
std::shared_ptr<Event> FindEvent(cuda::CUevent handle);
cuda::CUresult DestroyEvent(cuda::CUevent handle);

// Adds a handle to an event of another process that has just been counted as held.
cuda::CUevent AddImportedEvent(const std::shared_ptr<Context>& context, uint32_t slot, uint64_t generation);

// A new record, pending from now on; its stream calls Complete when it comes to it.
// 2 where too many records of the event are pending.
cuda::CUresult BeginRecord(const Event& event, Moment* moment);
void Complete(const Moment& moment);

// The latest record of an event, now; whether the stream came to it; and waiting
// until it did, or until the context of whoever waits is broken.
Moment Latest(const Event& event);
bool Done(const Moment& moment);
void Await(const Moment& moment, const Context& waiting);

uint64_t CountEvents();

}  // namespace zerohop::fake_cuda

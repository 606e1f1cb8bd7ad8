#pragma once

// What the processes of one namespace share: /dev/shm/fakecu-NS. Plain records,
// read and written under the one lock only, except for the words that say "look
// again". A zeroed record is a free one.

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "shm/cuda/cuda_api.h"
#include "tests/fake_cuda/counters.h"

namespace zerohop::fake_cuda {

inline constexpr uint64_t kRegistryMagic = 0x3130'5543'454b'4146;  // "FAKECU01", of this layout
inline constexpr uint32_t kMaxDevices = 4;
inline constexpr uint32_t kMaxProcesses = 64;
inline constexpr uint32_t kMaxBlocks = 1024;
inline constexpr uint32_t kMaxAllocations = 2048;
inline constexpr uint32_t kMaxEvents = 4096;
inline constexpr uint32_t kMaxPendingRecords = 8;
inline constexpr uint32_t kMaxFaults = 32;
inline constexpr uint32_t kMaxFaultText = 200;
inline constexpr uint32_t kNobody = UINT32_MAX;

struct DeviceRecord {
  cuda::CUuuid uuid;
  uint64_t total_bytes;
};

// A process that has called cuInit, until it exits or is found dead.
struct ProcessRecord {
  int32_t pid;          // 0: free
  int32_t shown_pid;    // what handles carry; FAKECU_PID
  uint64_t start_time;  // tells the process from a later one with its pid
  uint64_t pid_namespace;
  std::atomic<uint64_t> counters[kCounters];  // of that process alone, so without the lock
};

// Physical memory: one shared-memory object, a multiple of 2 MiB. It is in use
// while a live allocation or an import lies in it. Its object may be there before
// and after that, where its maker was killed: the next user of the record removes it.
struct BlockRecord {
  uint64_t bytes;       // 0: free
  uint64_t generation;  // part of the object's name
  uint32_t device;
  uint32_t unlinked;  // 1: only mappings are left of it
};

enum class AllocationState : uint32_t {
  kFree,
  kLive,
  kFreed,   // by its owner, under an import
  kOrphan,  // its owner exited or died, under an import
};

struct AllocationRecord {
  AllocationState state;
  uint32_t owner;  // index of its process
  uint32_t block;
  uint32_t device;
  uint64_t generation;  // of this slot; never the same twice in a namespace
  uint64_t nonce;       // the handle must know it
  uint64_t offset;      // within the block
  uint64_t bytes;
  uint16_t imports[kMaxProcesses];
};

// An event of any kind, so that there is one way to wait. An event is complete
// with regard to a record when that is no longer pending. Who is killed leaves
// its records pending for ever.
struct EventRecord {
  uint64_t generation;  // 0: free
  uint64_t nonce;
  uint64_t last_record;                  // number of the latest record; 0: none yet
  uint64_t pending[kMaxPendingRecords];  // numbers of records not done; 0: free
  uint32_t owner;
  uint32_t device;
  uint32_t interprocess;
  uint32_t destroyed_by_owner;
  uint32_t holders;  // handles to it, in all processes
  uint16_t held[kMaxProcesses];
};

struct FaultRecord {
  int32_t pid;  // 0: everybody
  uint32_t used;
  char text[kMaxFaultText];
};

struct Registry {
  uint64_t magic;
  pthread_mutex_t lock;  // robust, shared
  uint64_t next_generation;
  uint32_t device_count;
  std::atomic<uint32_t> faults_version;  // bumped after faults changed
  std::atomic<uint32_t> event_bell;      // futex; bumped after a record is done
  DeviceRecord devices[kMaxDevices];
  ProcessRecord processes[kMaxProcesses];
  BlockRecord blocks[kMaxBlocks];
  AllocationRecord allocations[kMaxAllocations];
  EventRecord events[kMaxEvents];
  FaultRecord faults[kMaxFaults];
  uint64_t departed_counters[kCounters];  // of processes that are gone
};

static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free);

}  // namespace zerohop::fake_cuda

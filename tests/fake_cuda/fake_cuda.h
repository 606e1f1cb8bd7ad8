#pragma once

// What the emulated libcuda.so.1 offers beyond the driver's own functions: hooks
// for tests, found by dlsym or by linking the emulator. All of them work in any
// process of a namespace (FAKECU_NS), and those that name no stream or context
// before cuInit, too.
//
// Environment, read at the first call:
//   FAKECU_NS         processes with the same one share devices; "default"
//   FAKECU_DEVICES    devices, 1..4; the first process of a namespace decides
//   FAKECU_TOTAL_MB   memory of a device, 1024; likewise
//   FAKECU_NAME       of every device: "Emulated CUDA device"; one with " MIG " in it is that of an instance
//   FAKECU_VISIBLE    ordinals this process sees and in which order, "1,0"
//   FAKECU_ATTRIBUTES "18=1,125=0": device attributes that differ from the usual
//   FAKECU_UB         abort | poison | pin: what undefined behaviour does (undefined.h)
//   FAKECU_STALE_ERR  1 | 400 | 205: opening a stale handle; else 400 if its exporter is gone, or 1
//   FAKECU_HIDDEN     ok | 1: opening a handle to a device this process does not see
//   FAKECU_STRICT     1: the NULL stream and interior exports are refused; 0: not
//   FAKECU_VA_REUSE   1: freed device addresses are given out again at once
//   FAKECU_PID        the process id shown to peers, for equal pids across namespaces
//   FAKECU_FAULT      faults of this process (faults.h)
//   FAKECU_HIDE       symbols, by commas, that cuGetProcAddress does not find
//   FAKECU_DELAY_US   the least time from submitting work to a stream to its start
//   FAKECU_MAX_EVENTS interprocess events of a namespace
//   FAKECU_REPORT     a file to which every process appends one line of JSON at exit

#include <cstddef>

#include "shm/cuda/cuda_api.h"

extern "C" {

// Work on a device: `function` runs on the stream's thread, in the stream's order,
// and reaches device memory through fakecu_access only.
zerohop::cuda::CUresult fakecu_launch(zerohop::cuda::CUstream stream, zerohop::cuda::CUhostFn function,
                                      void* argument);

// Within a launched function: where the bytes of a device range are. Null for a
// range that is not all allocated; the context is then broken for good (700).
void* fakecu_access(zerohop::cuda::CUdeviceptr address, size_t bytes);

// Nothing more of the stream starts until it is released: the way to see what a
// missing synchronisation reads, without waiting for luck.
zerohop::cuda::CUresult fakecu_hold_stream(zerohop::cuda::CUstream stream);
zerohop::cuda::CUresult fakecu_release_stream(zerohop::cuda::CUstream stream);

// A second context on a device, which no product code has.
zerohop::cuda::CUresult fakecu_second_context(zerohop::cuda::CUcontext* context,
                                              zerohop::cuda::CUdevice device);

// Adds faults to a living process (0: to all of the namespace, and those to come), or
// clears them where `faults` is empty. 1 for what faults.h does not understand.
zerohop::cuda::CUresult fakecu_set_faults(int pid, const char* faults);

// A counter of counters.h, by name: of one living process, or (0) of all there have
// ever been in the namespace. ~0 for an unknown name or process.
unsigned long long fakecu_counter(int pid, const char* name);

// Looks for processes that have died, and settles what they owned.
void fakecu_sweep();

// Removes the namespace if no process lives in it, since one that is killed cannot do so itself.
void fakecu_remove_namespace();

// What stands in fresh memory, and in freed memory that somebody still reads
// (FAKECU_UB=poison). As floats: a NaN, and a number that no embedding contains.
enum : unsigned char { kFakeCudaFresh = 0xFF, kFakeCudaFreed = 0xFE };
}

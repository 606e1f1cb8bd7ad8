#pragma once

// Which CPU a replica's worker is bound to: broker and replica on one CPU hand
// a trifle over with a switch, where two CPUs would need a wake.

#include <sys/types.h>

#include <cstdint>

namespace zerohop {

// No CPU in particular.
inline constexpr int kAnyCpu = -1;

// How many CPUs this process may run on; at least 1. A quota on their time is not looked at (UsableCpus).
int CountCpus();

// The i-th CPU that this process may use, counted round; kAnyCpu where that cannot be told.
int UsableCpu(uint32_t i);

// The only CPU that the main thread of `pid`, which is a replica's worker, may use; kAnyCpu where there are
// several.
int PinnedCpu(pid_t pid);

}  // namespace zerohop

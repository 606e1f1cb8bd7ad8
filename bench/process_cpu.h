#pragma once

// CPU time of other processes on this host, so that a server's cost is counted
// over the very window in which its answers are.

#include <sys/types.h>

#include <chrono>
#include <span>

namespace zerohop::bench {

// User and system time of all their threads, ended ones too; a process that is gone counts nothing.
std::chrono::nanoseconds CpuTimeOf(std::span<const pid_t> processes);

}  // namespace zerohop::bench

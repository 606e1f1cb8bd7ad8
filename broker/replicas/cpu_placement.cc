#include "broker/replicas/cpu_placement.h"

#include <sched.h>

namespace zerohop {
namespace {

// The CPU of `set` that has `skip` others before it.
int CpuAt(const cpu_set_t& set, int skip) {
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set) && skip-- == 0) return cpu;
  }
  return kAnyCpu;
}

}  // namespace

int CountCpus() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int UsableCpu(uint32_t i) {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return kAnyCpu;
  return CpuAt(set, static_cast<int>(i % static_cast<uint32_t>(CPU_COUNT(&set))));
}

int PinnedCpu(pid_t pid) {
  cpu_set_t set;
  if (::sched_getaffinity(pid, sizeof set, &set) != 0 || CPU_COUNT(&set) != 1) return kAnyCpu;
  return CpuAt(set, 0);
}

}  // namespace zerohop

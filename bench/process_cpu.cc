#include "bench/process_cpu.h"

#include <time.h>

namespace zerohop::bench {

std::chrono::nanoseconds CpuTimeOf(std::span<const pid_t> processes) {
  std::chrono::nanoseconds sum{0};
  for (const pid_t process : processes) {
    clockid_t clock;
    timespec time{};
    if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) continue;
    sum += std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
  return sum;
}

}  // namespace zerohop::bench

#include "broker/replicas/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace zerohop {
namespace {

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

size_t MachineAvailable() {
  std::ifstream info("/proc/meminfo");
  std::string name, unit;
  size_t kib = 0;
  while (info >> name >> kib) {
    if (name == "MemAvailable:") return kib << 10;
    std::getline(info, unit);
  }
  return kUnlimited;
}

// A number in a cgroup file; "max" and absence mean no limit.
size_t ReadBytes(const char* path) {
  std::ifstream file(path);
  size_t bytes;
  return file >> bytes ? bytes : kUnlimited;
}

size_t CgroupAvailable() {
  const size_t limit = ReadBytes("/sys/fs/cgroup/memory.max");
  const size_t used = ReadBytes("/sys/fs/cgroup/memory.current");
  if (limit == kUnlimited || used == kUnlimited) return kUnlimited;
  return limit > used ? limit - used : 0;
}

std::string MiB(size_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

size_t AvailableMemoryBytes() {
  return std::min(MachineAvailable(), CgroupAvailable());
}

absl::Status CheckMemory(size_t lanes, size_t bytes_per_lane, size_t available) {
  if (bytes_per_lane <= available / lanes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "not enough memory for the lanes: " + std::to_string(lanes) + " x " + MiB(bytes_per_lane) +
      " are needed, " + MiB(available) +
      " are available; lower --num-replicas, --request-arena-mib or --response-arena-mib");
}

}  // namespace zerohop

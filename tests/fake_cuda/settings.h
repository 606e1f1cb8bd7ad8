#pragma once

// Settings: the FAKECU_ variables of the environment (fake_cuda.h), read once.
// A value that makes no sense ends the process: a test that runs with another
// setting than it says proves nothing.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shm/cuda/cuda_api.h"

namespace zerohop::fake_cuda {

enum class UndefinedBehaviour { kAbort, kPoison, kPin };

struct Settings {
  std::string name_space;
  uint32_t devices;
  uint64_t total_bytes;
  std::string device_name;
  std::optional<std::vector<uint32_t>> visible;
  std::map<int, int> attributes;
  UndefinedBehaviour undefined;
  std::optional<cuda::CUresult> stale_error;  // none: 400 of memory whose exporter is gone, else 1
  bool hidden_devices_open;
  bool strict;
  bool reuse_addresses;
  int shown_pid;  // 0: the real one
  std::string faults;
  std::vector<std::string> hidden_symbols;
  uint64_t delay_us;
  uint32_t max_events;
  std::string report;
};

// The settings of this process.
const Settings& TheSettings();

}  // namespace zerohop::fake_cuda

#pragma once

// What `zerohop doctor` found out, and how it is shown.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "shm/cuda/surroundings.h"

namespace zerohop {

struct DriverFinding {
  bool found = false;   // a library with all functions that we need
  std::string version;  // "13.0": of CUDA, as the driver says; empty where it does not
  absl::Status usable;  // OK, or why no device can be used
};

struct DeviceFinding {
  CudaDeviceFacts facts;
  absl::Status probe;  // of ProbeImport, or why the device could not even be opened
  ReturnVerdict verdict{};
};

struct Findings {
  Surroundings surroundings;
  DriverFinding driver{};
  std::vector<DeviceFinding> devices{};
};

// By the rules first, whose reasons say more than an error of a driver; then by the probe.
ReturnVerdict Verdict(const DeviceFinding& device, const Surroundings& surroundings);

// For people, a fact a line. In pieces, to be printed as they are found: what comes next may hang.
std::string TextOf(const Surroundings& surroundings);
std::string TextOf(const DriverFinding& driver);
std::string TextOf(const CudaDeviceFacts& facts);
std::string TextOfProbe(const DeviceFinding& device);
std::string TextOfNoDevice(const DriverFinding& driver);

nlohmann::json JsonOf(const Findings& findings);

}  // namespace zerohop

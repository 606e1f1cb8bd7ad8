#include "broker/doctor/doctor.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/doctor/findings.h"
#include "broker/doctor/import_probe.h"

namespace zerohop {
namespace {

struct Flags {
  std::string device;  // empty: all
  bool json = false;
  double probe_timeout = 30;
  bool open_export = false;
};

// The exit status where there is nothing more to do.
std::optional<int> Parse(int argc, char** argv, Flags* f) {
  CLI::App app("Tells which way rows would come back from a GPU here, and why. Needs no server, and no GPU.",
               "zerohop doctor");
  app.add_option("--device", f->device, "Of one device only: its UUID or its ordinal");
  app.add_flag("--json", f->json, "The same as one JSON object");
  app.add_option("--probe-timeout", f->probe_timeout,
                 "Seconds that another process may take to open memory of a device")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_flag(kOpenExportFlag, f->open_export)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "zerohop doctor: %s\n", error.what());
    return 2;
  }
  return std::nullopt;
}

std::string VersionOf(const CudaDriver& driver) {
  int version = 0;
  if (driver.cuDriverGetVersion(&version) != cuda::CUDA_SUCCESS) return "";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What people and programs read: text as soon as it is known, JSON at the end.
class Report {
 public:
  explicit Report(bool as_json) : as_json_(as_json) {}

  void Add(const std::string& text) const {
    if (as_json_) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);  // whoever waits for what comes next sees how far we are
  }
  void Finish(const Findings& findings) const {
    if (as_json_) std::printf("%s\n", JsonOf(findings).dump(2).c_str());
    std::fflush(stdout);
  }

 private:
  bool as_json_;
};

// Every device that a usable driver shows; otherwise `driver` says why there is none.
std::vector<CudaDeviceFacts> FindDevices(const CudaDriver& loaded, DriverFinding* driver) {
  driver->found = true;
  driver->version = VersionOf(loaded);
  driver->usable = loaded.Init();
  if (!driver->usable.ok()) return {};
  auto devices = ListCudaDevices(loaded);
  driver->usable = devices.status();
  return devices.ok() ? *std::move(devices) : std::vector<CudaDeviceFacts>();
}

absl::Status Probe(const CudaDriver& driver, const CudaDeviceFacts& facts, double seconds) {
  auto device = CudaDevice::Open(driver, std::to_string(facts.ordinal));
  if (!device.ok()) return device.status();
  return ProbeImport(*device, std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
}

// The device that is asked for, or all.
absl::StatusOr<std::vector<CudaDeviceFacts>> Choose(std::vector<CudaDeviceFacts> devices,
                                                    const std::string& choice) {
  if (choice.empty()) return devices;
  auto chosen = ChooseCudaDevice(devices, choice);
  if (!chosen.ok()) return chosen.status();
  return std::vector<CudaDeviceFacts>{*std::move(chosen)};
}

int Examine(const Flags& f) {
  std::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would hide how a probe's process ended
  const Report report(f.json);
  Findings findings{.surroundings = ReadSurroundings()};
  report.Add(TextOf(findings.surroundings));
  const auto driver = CudaDriver::Load();
  findings.driver.usable = driver.status();
  const auto devices =
      Choose(driver.ok() ? FindDevices(*driver, &findings.driver) : std::vector<CudaDeviceFacts>(), f.device);
  report.Add(TextOf(findings.driver));
  if (!devices.ok()) {
    std::fprintf(stderr, "zerohop doctor: --device: %s\n", std::string(devices.status().message()).c_str());
    return 1;
  }
  for (const CudaDeviceFacts& facts : *devices) {
    report.Add(TextOf(facts));
    DeviceFinding& device = findings.devices.emplace_back(DeviceFinding{facts, absl::OkStatus()});
    device.probe = Probe(*driver, facts, f.probe_timeout);
    device.verdict = Verdict(device, findings.surroundings);
    report.Add(TextOfProbe(device));
  }
  if (devices->empty()) report.Add(TextOfNoDevice(findings.driver));
  report.Finish(findings);
  return 0;
}

}  // namespace

int Doctor(int argc, char** argv) {
  Flags f;
  if (const auto status = Parse(argc, argv, &f)) return *status;
  return f.open_export ? OpenExport() : Examine(f);
}

}  // namespace zerohop

#include "broker/doctor/findings.h"

#include <spdlog/fmt/fmt.h>

#include "shm/printable.h"

namespace zerohop {
namespace {

using nlohmann::json;

constexpr char kOpened[] = "another process opened exported memory and found in it what was written";
constexpr char kNoDevice[] = "this process sees no device";
constexpr size_t kMostBytes = 1000;  // of what a driver says

std::string Clean(std::string_view text) {
  return Printable(text, kMostBytes);
}

std::string Reason(const absl::Status& status) {
  return Clean(std::string(status.message()));
}

std::string Line(std::string_view name, std::string_view value) {
  return fmt::format("  {:<20}{}\n", name, Clean(value));
}

std::string_view YesOrNo(bool yes) {
  return yes ? "yes" : "no";
}

std::string ComputeMode(const CudaDeviceFacts& facts) {
  if (facts.prohibited) return "prohibited";
  return facts.exclusive ? "exclusive" : "default";
}

bool IsInstance(const CudaDeviceFacts& facts) {
  return facts.uuid.starts_with("MIG-");
}

std::string PidNamespace(const Surroundings& around) {
  if (!around.initial_pid_namespace) return "cannot be told";
  return fmt::format(
      "{} ({})", around.pid_namespace,
      *around.initial_pid_namespace ? "the initial one" : "not the initial one: a container's");
}

std::string Mps(const Surroundings& around) {
  return around.mps
             ? fmt::format("yes ({}/control); a replica that has to be killed may harm others on the GPU",
                           around.mps_directory)
             : fmt::format("no (no {}/control)", around.mps_directory);
}

std::string TextOfVerdict(std::string_view path, std::string_view reason) {
  return fmt::format("  return path: {}\n    {}\n", path, Clean(reason));
}

std::string WhyNoDevice(const DriverFinding& driver) {
  return driver.usable.ok() ? kNoDevice : Reason(driver.usable);
}

json JsonOf(const Surroundings& around) {
  json pids = {{"inode", around.pid_namespace}, {"initial", nullptr}};
  if (around.initial_pid_namespace) pids["initial"] = *around.initial_pid_namespace;
  return {{"kernel", Clean(around.kernel)},
          {"wsl", around.wsl},
          {"mps", around.mps},
          {"mps_pipe_directory", Clean(around.mps_directory)},
          {"pid_namespace", pids}};
}

json JsonOf(const DriverFinding& driver) {
  return {{"found", driver.found},
          {"version", driver.version},
          {"usable", driver.usable.ok()},
          {"reason", Reason(driver.usable)}};
}

json JsonOf(const DeviceFinding& device) {
  const CudaDeviceFacts& facts = device.facts;
  return {{"ordinal", facts.ordinal},
          {"uuid", facts.uuid},
          {"name", Clean(facts.name)},
          {"bus_id", Clean(facts.bus_id)},
          {"memory_bytes", facts.total_bytes},
          {"compute_mode", ComputeMode(facts)},
          {"mig_instance", IsInstance(facts)},
          {"integrated", facts.integrated},
          {"ipc_events", facts.ipc_events},
          {"unified_addressing", facts.unified_addressing},
          {"probe", {{"opened", device.probe.ok()}, {"reason", Reason(device.probe)}}},
          {"return_path", std::string(Name(device.verdict.path))},
          {"reason", Clean(device.verdict.reason)}};
}

}  // namespace

ReturnVerdict Verdict(const DeviceFinding& device, const Surroundings& surroundings) {
  ReturnVerdict by_rule = JudgeIpc(device.facts, surroundings);
  if (by_rule.path == ReturnPath::kHost) return by_rule;
  if (!device.probe.ok()) return {ReturnPath::kHost, Reason(device.probe)};
  return {ReturnPath::kCudaIpc, kOpened};
}

std::string TextOf(const Surroundings& around) {
  return "surroundings\n" + Line("kernel", around.kernel) + Line("WSL", YesOrNo(around.wsl)) +
         Line("MPS", Mps(around)) + Line("pid namespace", PidNamespace(around));
}

std::string TextOf(const DriverFinding& driver) {
  std::string text = "driver\n" + Line("found", YesOrNo(driver.found));
  if (!driver.version.empty()) text += Line("CUDA", driver.version);
  if (driver.found) text += Line("usable", YesOrNo(driver.usable.ok()));
  return driver.usable.ok() ? text : text + Line("reason", Reason(driver.usable));
}

std::string TextOf(const CudaDeviceFacts& facts) {
  return fmt::format("device {}\n", facts.ordinal) + Line("UUID", facts.uuid) + Line("name", facts.name) +
         Line("bus id", facts.bus_id) + Line("memory", fmt::format("{} MiB", facts.total_bytes >> 20)) +
         Line("compute mode", ComputeMode(facts)) + Line("MIG instance", YesOrNo(IsInstance(facts))) +
         Line("integrated", YesOrNo(facts.integrated)) + Line("IPC events", YesOrNo(facts.ipc_events)) +
         Line("unified addressing", YesOrNo(facts.unified_addressing));
}

std::string TextOfProbe(const DeviceFinding& device) {
  const std::string probe = device.probe.ok() ? "passed" : fmt::format("failed: {}", Reason(device.probe));
  return Line("probe", probe) + TextOfVerdict(Name(device.verdict.path), device.verdict.reason);
}

std::string TextOfNoDevice(const DriverFinding& driver) {
  return "no device\n" + TextOfVerdict("none: no CUDA", WhyNoDevice(driver));
}

json JsonOf(const Findings& findings) {
  json devices = json::array();
  for (const DeviceFinding& device : findings.devices) devices.push_back(JsonOf(device));
  json all = {{"surroundings", JsonOf(findings.surroundings)},
              {"driver", JsonOf(findings.driver)},
              {"devices", std::move(devices)}};
  if (findings.devices.empty()) {
    all["return_path"] = "none";
    all["reason"] = "no CUDA: " + WhyNoDevice(findings.driver);
  }
  return all;
}

}  // namespace zerohop

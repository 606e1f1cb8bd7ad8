#include "tests/fake_cuda/settings.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "tests/fake_cuda/registry_format.h"

namespace zerohop::fake_cuda {
namespace {

std::string Text(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : otherwise;
}

[[noreturn]] void Refuse(const char* name, const std::string& value) {
  std::fprintf(stderr, "fake_cuda: %s=%s makes no sense\n", name, value.c_str());
  std::abort();
}

uint64_t Number(const char* name, uint64_t otherwise, uint64_t least, uint64_t most) {
  const std::string text = Text(name, "");
  if (text.empty()) return otherwise;
  char* end = nullptr;
  const uint64_t number = std::strtoull(text.c_str(), &end, 10);
  if (*end != 0 || number < least || number > most) Refuse(name, text);
  return number;
}

std::vector<std::string> List(const char* name) {
  std::vector<std::string> items;
  std::istringstream text(Text(name, ""));
  for (std::string item; std::getline(text, item, ',');) items.push_back(item);
  return items;
}

UndefinedBehaviour Undefined() {
  const std::string text = Text("FAKECU_UB", "pin");
  if (text == "abort") return UndefinedBehaviour::kAbort;
  if (text == "poison") return UndefinedBehaviour::kPoison;
  if (text != "pin") Refuse("FAKECU_UB", text);
  return UndefinedBehaviour::kPin;
}

std::optional<std::vector<uint32_t>> Visible() {
  // Set but empty hides every device, as with CUDA_VISIBLE_DEVICES.
  if (std::getenv("FAKECU_VISIBLE") == nullptr) return std::nullopt;
  std::vector<uint32_t> ordinals;
  for (const std::string& item : List("FAKECU_VISIBLE")) {
    ordinals.push_back(static_cast<uint32_t>(std::strtoul(item.c_str(), nullptr, 10)));
  }
  return ordinals;
}

std::map<int, int> Attributes() {
  std::map<int, int> attributes;
  for (const std::string& item : List("FAKECU_ATTRIBUTES")) {
    int attribute = 0;
    int value = 0;
    if (std::sscanf(item.c_str(), "%d=%d", &attribute, &value) != 2) Refuse("FAKECU_ATTRIBUTES", item);
    attributes[attribute] = value;
  }
  return attributes;
}

Settings Read() {
  Settings settings;
  settings.name_space = Text("FAKECU_NS", "default");
  if (settings.name_space.find('/') != std::string::npos) Refuse("FAKECU_NS", settings.name_space);
  settings.devices = static_cast<uint32_t>(Number("FAKECU_DEVICES", 1, 0, kMaxDevices));
  settings.total_bytes = Number("FAKECU_TOTAL_MB", 1024, 2, 1 << 20) << 20;
  settings.device_name = Text("FAKECU_NAME", "Emulated CUDA device");
  settings.visible = Visible();
  settings.attributes = Attributes();
  settings.undefined = Undefined();
  if (const uint64_t error = Number("FAKECU_STALE_ERR", 0, 0, 999))
    settings.stale_error = static_cast<cuda::CUresult>(error);
  settings.hidden_devices_open = Text("FAKECU_HIDDEN", "1") == "ok";
  settings.strict = Number("FAKECU_STRICT", 1, 0, 1) == 1;
  settings.reuse_addresses = Number("FAKECU_VA_REUSE", 0, 0, 1) == 1;
  settings.shown_pid = static_cast<int>(Number("FAKECU_PID", 0, 0, INT32_MAX));
  settings.faults = Text("FAKECU_FAULT", "");
  settings.hidden_symbols = List("FAKECU_HIDE");
  settings.delay_us = Number("FAKECU_DELAY_US", 0, 0, 10'000'000);
  settings.max_events = static_cast<uint32_t>(Number("FAKECU_MAX_EVENTS", 1000, 0, kMaxEvents));
  settings.report = Text("FAKECU_REPORT", "");
  return settings;
}

}  // namespace

const Settings& TheSettings() {
  // Never destroyed: streams still run while the process exits.
  static const Settings& settings = *new Settings(Read());
  return settings;
}

}  // namespace zerohop::fake_cuda

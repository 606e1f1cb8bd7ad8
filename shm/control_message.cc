#include "shm/control_message.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "shm/printable.h"
#include "shm/row.h"

namespace zerohop {
namespace {

using nlohmann::json;
// So short that a message fits a packet even if every byte is escaped to six.
constexpr size_t kMaxReasonBytes = 2 << 10;
constexpr size_t kMaxNameBytes = 256;

json ToJson(const EngineInfo& info) {
  return {{"dim", info.dim},
          {"max_tokens", info.max_tokens},
          {"vocabulary", info.vocabulary},
          {"batch_tokens", info.batch_tokens},
          {"batch_prompts", info.batch_prompts},
          {"engine", Printable(info.engine, kMaxNameBytes)},
          {"dtype", Printable(info.dtype, kMaxNameBytes)},
          {"task", Printable(info.task, kMaxNameBytes)},
          {"device", Printable(info.device, kMaxNameBytes)}};
}

std::string Hex(const cuda::CUipcMemHandle& handle) {
  const std::string_view bytes(handle.reserved, sizeof handle.reserved);
  return absl::BytesToHexString({bytes.data(), bytes.size()});
}

json ToJson(const DeviceOffer& device) {
  return {{"uuid", Printable(device.arena.device, kMaxNameBytes)},
          {"ipc", Hex(device.arena.ipc)},
          {"bytes", device.arena.bytes},
          {"proof", device.arena.proof},
          {"required", device.required}};
}

struct Encoder {
  json operator()(const Hello& m) const {
    return {{"type", "hello"}, {"protocol", m.protocol}, {"pid", m.pid}};
  }
  json operator()(const Offer& m) const {
    json offer = {
        {"type", "offer"},      {"replica", m.replica}, {"epoch", m.epoch},    {"generation", m.generation},
        {"spin_ns", m.spin_ns}, {"beat_ns", m.beat_ns}, {"step_ns", m.step_ns}};
    if (m.device) offer["device"] = ToJson(*m.device);
    return offer;
  }
  json operator()(const Ready& m) const {
    return {{"type", "ready"},
            {"info", ToJson(m.info)},
            {"return_path", Name(m.taken.path)},
            {"return_reason", Printable(m.taken.reason, kMaxReasonBytes)}};
  }
  json operator()(const Failed& m) const {
    return {{"type", "failed"}, {"reason", Printable(m.reason, kMaxReasonBytes)}};
  }
  json operator()(const Drain&) const { return {{"type", "drain"}}; }
};

// A number that must be there and fit; at() and get() throw, Decode catches.
template <typename T>
T Number(const json& object, const char* name) {
  const json& value = object.at(name);
  if (!value.is_number_integer()) throw std::runtime_error(std::string(name) + " is not an integer");
  const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>())
                                               : std::in_range<T>(value.get<int64_t>());
  if (!fits) throw std::runtime_error(std::string(name) + " is out of range");
  return value.get<T>();
}

std::string Text(const json& object, const char* name) {
  const auto& text = object.at(name).get_ref<const std::string&>();
  return Printable(text, kMaxReasonBytes);
}

ReturnPath PathFrom(const json& object) {
  const std::string name = Text(object, "return_path");
  for (ReturnPath path : {ReturnPath::kHost, ReturnPath::kCudaIpc}) {
    if (name == Name(path)) return path;
  }
  throw std::runtime_error("unknown return path '" + Printable(name, 40) + "'");
}

DeviceOffer DeviceFrom(const json& object) {
  DeviceOffer device;
  device.arena.device = Text(object, "uuid");
  const std::string hex = Text(object, "ipc");
  if (hex.size() != 2 * sizeof device.arena.ipc || hex.find_first_not_of("0123456789abcdef") != hex.npos) {
    throw std::runtime_error("ipc is no memory handle");
  }
  std::memcpy(&device.arena.ipc, absl::HexStringToBytes(hex).data(), sizeof device.arena.ipc);
  device.arena.bytes = Number<uint64_t>(object, "bytes");
  device.arena.proof = Number<uint64_t>(object, "proof");
  device.required = object.at("required").get<bool>();
  return device;
}

Ready ReadyFrom(const json& object) {
  const json& info = object.at("info");
  Ready ready;
  ready.info.dim = Number<uint32_t>(info, "dim");
  ready.info.max_tokens = Number<uint32_t>(info, "max_tokens");
  ready.info.vocabulary = Number<uint32_t>(info, "vocabulary");
  ready.info.batch_tokens = Number<uint32_t>(info, "batch_tokens");
  ready.info.batch_prompts = Number<uint32_t>(info, "batch_prompts");
  ready.info.engine = Text(info, "engine");
  ready.info.dtype = Text(info, "dtype");
  ready.info.task = Text(info, "task");
  ready.info.device = Text(info, "device");
  ready.taken = {PathFrom(object), Text(object, "return_reason")};
  if (ready.info.dim == 0 || ready.info.dim > kMaxDim) throw std::runtime_error("dim is out of range");
  return ready;
}

ControlMessage FromJson(const json& object) {
  const std::string type = Text(object, "type");
  if (type == "hello") return Hello{Number<uint32_t>(object, "protocol"), Number<int64_t>(object, "pid")};
  if (type == "offer") {
    Offer offer{Number<uint32_t>(object, "replica"),    Number<uint64_t>(object, "epoch"),
                Number<uint64_t>(object, "generation"), Number<int64_t>(object, "spin_ns"),
                Number<int64_t>(object, "beat_ns"),     Number<int64_t>(object, "step_ns")};
    if (object.contains("device")) offer.device = DeviceFrom(object["device"]);
    return offer;
  }
  if (type == "ready") return ReadyFrom(object);
  if (type == "failed") return Failed{Text(object, "reason")};
  if (type == "drain") return Drain{};
  throw std::runtime_error("unknown type '" + Printable(type, 40) + "'");
}

}  // namespace

std::string Encode(const ControlMessage& message) {
  // Engine names and reasons may hold any bytes; what is not UTF-8 is replaced, never thrown.
  return std::visit(Encoder{}, message).dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<ControlMessage> Decode(std::string_view bytes) {
  if (bytes.size() > kMaxControlMessageBytes) {
    return absl::InvalidArgumentError("control message of " + std::to_string(bytes.size()) + " bytes");
  }
  try {
    return FromJson(json::parse(bytes));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError("bad control message: " + Printable(error.what(), kMaxNameBytes));
  }
}

}  // namespace zerohop

#include "shm/control_message.h"

#include <nlohmann/json.hpp>

#include "shm/json_fields.h"
#include "shm/printable.h"
#include "shm/row.h"

namespace zerohop {
namespace {

using nlohmann::json;

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

json ToJson(const DeviceOffer& device) {
  json offer = ToJson(device.arena);
  offer["required"] = device.required;
  return offer;
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

ReturnPath PathFrom(const json& object) {
  const std::string name = Text(object, "return_path");
  for (ReturnPath path : {ReturnPath::kHost, ReturnPath::kCudaIpc}) {
    if (name == Name(path)) return path;
  }
  throw std::runtime_error("unknown return path '" + Printable(name, 40) + "'");
}

DeviceOffer DeviceFrom(const json& object) {
  DeviceOffer device;
  device.arena = ArenaFrom(object);
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

// Control messages (shm/control_message.h): any bytes are refused with one
// clean sentence, or mean what they say and survive the way to the other side.
//
// Input: the packet.

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shm/control_message.h"
#include "shm/row.h"
#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/message_text.h"

namespace zerohop {
namespace {

// A message against the document that it came from.
struct CheckMeaning {
  const nlohmann::json& document;

  void operator()(const Hello& got) const {
    FUZZ_CHECK(document["type"] == "hello");
    FUZZ_CHECK(document["protocol"] == got.protocol && document["pid"] == got.pid);
  }
  void operator()(const Offer& got) const {
    FUZZ_CHECK(document["type"] == "offer" && document["replica"] == got.replica);
    FUZZ_CHECK(document["epoch"] == got.epoch && document["generation"] == got.generation);
    FUZZ_CHECK(document["spin_ns"] == got.spin_ns && document["beat_ns"] == got.beat_ns);
    FUZZ_CHECK(document["step_ns"] == got.step_ns);
    FUZZ_CHECK(document.contains("device") == got.device.has_value());
    if (!got.device) return;
    const nlohmann::json& device = document["device"];
    FUZZ_CHECK(device["bytes"] == got.device->arena.bytes && device["proof"] == got.device->arena.proof);
    FUZZ_CHECK(device["required"] == got.device->required);
    FUZZ_CHECK(device["ipc"].get_ref<const std::string&>().size() == 2 * sizeof got.device->arena.ipc);
    CheckText(device["uuid"], got.device->arena.device);
  }
  void operator()(const Ready& got) const {
    const nlohmann::json& info = document["info"];
    FUZZ_CHECK(document["type"] == "ready" && info["dim"] == got.info.dim);
    FUZZ_CHECK(info["max_tokens"] == got.info.max_tokens && info["vocabulary"] == got.info.vocabulary);
    FUZZ_CHECK(info["batch_tokens"] == got.info.batch_tokens);
    FUZZ_CHECK(info["batch_prompts"] == got.info.batch_prompts);
    CheckText(info["engine"], got.info.engine);
    CheckText(info["dtype"], got.info.dtype);
    CheckText(info["task"], got.info.task);
    CheckText(info["device"], got.info.device);
    FUZZ_CHECK(document["return_path"] == Name(got.taken.path));
    CheckText(document["return_reason"], got.taken.reason);
  }
  void operator()(const Failed& got) const {
    FUZZ_CHECK(document["type"] == "failed");
    CheckText(document["reason"], got.reason);
  }
  void operator()(const Drain&) const { FUZZ_CHECK(document["type"] == "drain"); }
};

// A message against what the other side makes of it.
struct CheckSame {
  const ControlMessage& other;

  void operator()(const Hello& sent) const {
    const auto& got = std::get<Hello>(other);
    FUZZ_CHECK(got.protocol == sent.protocol && got.pid == sent.pid);
  }
  void operator()(const Offer& sent) const {
    const auto& got = std::get<Offer>(other);
    FUZZ_CHECK(got.replica == sent.replica && got.epoch == sent.epoch && got.generation == sent.generation);
    FUZZ_CHECK(got.spin_ns == sent.spin_ns && got.beat_ns == sent.beat_ns && got.step_ns == sent.step_ns);
    FUZZ_CHECK(got.device.has_value() == sent.device.has_value());
    if (!sent.device) return;
    const ArenaHandle &ours = sent.device->arena, &theirs = got.device->arena;
    FUZZ_CHECK(theirs.bytes == ours.bytes && theirs.proof == ours.proof);
    FUZZ_CHECK(std::memcmp(&theirs.ipc, &ours.ipc, sizeof ours.ipc) == 0);
    FUZZ_CHECK(got.device->required == sent.device->required);
    CheckSameName(ours.device, theirs.device);
  }
  void operator()(const Ready& sent) const {
    const EngineInfo& info = std::get<Ready>(other).info;
    FUZZ_CHECK(info.dim == sent.info.dim && info.dim > 0 && info.dim <= kMaxDim);
    FUZZ_CHECK(info.max_tokens == sent.info.max_tokens && info.vocabulary == sent.info.vocabulary);
    FUZZ_CHECK(info.batch_tokens == sent.info.batch_tokens && info.batch_prompts == sent.info.batch_prompts);
    CheckSameName(sent.info.engine, info.engine);
    CheckSameName(sent.info.dtype, info.dtype);
    CheckSameName(sent.info.task, info.task);
    CheckSameName(sent.info.device, info.device);
    const ReturnVerdict& taken = std::get<Ready>(other).taken;
    FUZZ_CHECK(taken.path == sent.taken.path && taken.reason == sent.taken.reason);
  }
  void operator()(const Failed& sent) const {
    const std::string& reason = std::get<Failed>(other).reason;
    FUZZ_CHECK(reason == sent.reason && IsCleanText(reason) && reason.size() <= kMostReason);
  }
  void operator()(const Drain&) const {}
};

void CheckPacket(std::string_view bytes) {
  const auto first = Decode(bytes);
  if (!first.ok()) {
    const std::string why(first.status().message());
    FUZZ_CHECK(absl::IsInvalidArgument(first.status()));
    FUZZ_CHECK(IsCleanText(why) && !why.empty() && why.size() <= 2 * kMostName);
    return;
  }
  FUZZ_CHECK(bytes.size() <= kMaxControlMessageBytes);
  const nlohmann::json document = nlohmann::json::parse(bytes);
  std::visit(CheckMeaning{document}, *first);
  const std::string encoded = Encode(*first);
  FUZZ_CHECK(encoded.size() <= kMaxControlMessageBytes && IsCleanText(encoded));
  const auto second = Decode(encoded);
  FUZZ_CHECK(second.ok() && second->index() == first->index());
  std::visit(CheckSame{*second}, *first);
  FUZZ_CHECK(Encode(*second) == encoded);
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  zerohop::CheckPacket({reinterpret_cast<const char*>(bytes), size});
  return 0;
}

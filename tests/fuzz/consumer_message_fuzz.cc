// Consumer messages (shm/consumer/consumer_message.h): any bytes are refused with
// one clean sentence, or mean what they say and survive the way to the other side.
//
// Input: the packet.

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shm/consumer/consumer_message.h"
#include "shm/row.h"
#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/message_text.h"

namespace zerohop {
namespace {

// A message against the document that it came from.
struct CheckMeaning {
  const nlohmann::json& document;

  void operator()(const ConsumerHello& got) const {
    FUZZ_CHECK(document["type"] == "hello" && document["protocol"] == got.protocol);
    CheckText(document["device"], got.device);
  }
  void operator()(const ConsumerOffer& got) const {
    const nlohmann::json& arena = document["arena"];
    FUZZ_CHECK(document["type"] == "offer" && arena["bytes"] == got.arena.bytes);
    FUZZ_CHECK(arena["proof"] == got.arena.proof);
    FUZZ_CHECK(arena["ipc"].get_ref<const std::string&>().size() == 2 * sizeof got.arena.ipc);
    CheckText(arena["uuid"], got.arena.device);
  }
  void operator()(const ConsumerRefused& got) const {
    FUZZ_CHECK(document["type"] == "refused");
    CheckText(document["reason"], got.reason);
  }
  // Texts are the model's, not for people: as they are, to the byte.
  void operator()(const EmbedTexts& got) const {
    FUZZ_CHECK(document["type"] == "embed" && document["id"] == got.id);
    FUZZ_CHECK(document["timeout_ns"] == got.timeout_ns && document["texts"] == got.texts);
  }
  void operator()(const RowsLeased& got) const {
    FUZZ_CHECK(document["type"] == "leased" && document["id"] == got.id && document["lease"] == got.lease);
    FUZZ_CHECK(document["offset"] == got.offset && document["rows"] == got.rows);
    FUZZ_CHECK(document["dim"] == got.dim && got.dim > 0 && got.dim <= kMaxDim);
  }
  void operator()(const NotEmbedded& got) const {
    FUZZ_CHECK(document["type"] == "not_embedded" && document["id"] == got.id);
    FUZZ_CHECK(!got.why.ok() && document["code"] == absl::StatusCodeToString(got.why.code()));
    CheckText(document["reason"], std::string(got.why.message()));
  }
  void operator()(const ReturnLease& got) const {
    FUZZ_CHECK(document["type"] == "return" && document["lease"] == got.lease);
  }
  void operator()(const ArenaClosed&) const { FUZZ_CHECK(document["type"] == "closed"); }
};

// A message against what the other side makes of it.
struct CheckSame {
  const ConsumerMessage& other;

  void operator()(const ConsumerHello& sent) const {
    const auto& got = std::get<ConsumerHello>(other);
    FUZZ_CHECK(got.protocol == sent.protocol);
    CheckSameName(sent.device, got.device);
  }
  void operator()(const ConsumerOffer& sent) const {
    const ArenaHandle& arena = std::get<ConsumerOffer>(other).arena;
    FUZZ_CHECK(arena.bytes == sent.arena.bytes && arena.proof == sent.arena.proof);
    FUZZ_CHECK(std::memcmp(&arena.ipc, &sent.arena.ipc, sizeof arena.ipc) == 0);
    CheckSameName(sent.arena.device, arena.device);
  }
  void operator()(const ConsumerRefused& sent) const {
    FUZZ_CHECK(std::get<ConsumerRefused>(other).reason == sent.reason);
  }
  void operator()(const EmbedTexts& sent) const {
    const auto& got = std::get<EmbedTexts>(other);
    FUZZ_CHECK(got.id == sent.id && got.timeout_ns == sent.timeout_ns && got.texts == sent.texts);
    for (const std::string& text : got.texts) FUZZ_CHECK(IsUtf8(text));
  }
  void operator()(const RowsLeased& sent) const {
    const auto& got = std::get<RowsLeased>(other);
    FUZZ_CHECK(got.id == sent.id && got.lease == sent.lease && got.offset == sent.offset);
    FUZZ_CHECK(got.rows == sent.rows && got.dim == sent.dim);
  }
  void operator()(const NotEmbedded& sent) const {
    const auto& got = std::get<NotEmbedded>(other);
    FUZZ_CHECK(got.id == sent.id && got.why == sent.why);
  }
  void operator()(const ReturnLease& sent) const {
    FUZZ_CHECK(std::get<ReturnLease>(other).lease == sent.lease);
  }
  void operator()(const ArenaClosed&) const {}
};

void CheckPacket(std::string_view bytes) {
  const auto first = DecodeConsumerMessage(bytes);
  if (!first.ok()) {
    const std::string why(first.status().message());
    FUZZ_CHECK(absl::IsInvalidArgument(first.status()));
    FUZZ_CHECK(IsCleanText(why) && !why.empty() && why.size() <= 2 * kMostName);
    return;
  }
  FUZZ_CHECK(bytes.size() <= kMaxConsumerMessageBytes);
  const nlohmann::json document = nlohmann::json::parse(bytes);
  std::visit(CheckMeaning{document}, *first);
  const std::string encoded = EncodeConsumerMessage(*first);
  FUZZ_CHECK(IsCleanText(encoded) || std::holds_alternative<EmbedTexts>(*first));
  FUZZ_CHECK(IsUtf8(encoded));
  const auto second = DecodeConsumerMessage(encoded);
  if (!second.ok()) {  // of texts that were written shorter than Encode writes them
    FUZZ_CHECK(std::holds_alternative<EmbedTexts>(*first) && encoded.size() > kMaxConsumerMessageBytes);
    return;
  }
  FUZZ_CHECK(encoded.size() <= kMaxConsumerMessageBytes && second->index() == first->index());
  std::visit(CheckSame{*second}, *first);
  FUZZ_CHECK(EncodeConsumerMessage(*second) == encoded);
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  zerohop::CheckPacket({reinterpret_cast<const char*>(bytes), size});
  return 0;
}

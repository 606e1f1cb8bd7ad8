#include "shm/consumer/consumer_message.h"

#include <nlohmann/json.hpp>

#include "shm/json_fields.h"
#include "shm/printable.h"
#include "shm/row.h"

namespace zerohop {
namespace {

using nlohmann::json;

struct Encoder {
  json operator()(const ConsumerHello& m) const {
    return {{"type", "hello"}, {"protocol", m.protocol}, {"device", Printable(m.device, kMaxNameBytes)}};
  }
  json operator()(const ConsumerOffer& m) const { return {{"type", "offer"}, {"arena", ToJson(m.arena)}}; }
  json operator()(const ConsumerRefused& m) const {
    return {{"type", "refused"}, {"reason", Printable(m.reason, kMaxReasonBytes)}};
  }
  json operator()(const EmbedTexts& m) const {
    return {{"type", "embed"}, {"id", m.id}, {"texts", m.texts}, {"timeout_ns", m.timeout_ns}};
  }
  json operator()(const RowsLeased& m) const {
    return {{"type", "leased"},   {"id", m.id},     {"lease", m.lease},
            {"offset", m.offset}, {"rows", m.rows}, {"dim", m.dim}};
  }
  json operator()(const NotEmbedded& m) const {
    return {{"type", "not_embedded"},
            {"id", m.id},
            {"code", absl::StatusCodeToString(m.why.code())},
            {"reason", Printable(std::string(m.why.message()), kMaxReasonBytes)}};
  }
  json operator()(const ReturnLease& m) const { return {{"type", "return"}, {"lease", m.lease}}; }
  json operator()(const ArenaClosed&) const { return {{"type", "closed"}}; }
};

EmbedTexts EmbedFrom(json& object) {
  EmbedTexts embed;
  embed.id = Number<uint64_t>(object, "id");
  embed.timeout_ns = Number<int64_t>(object, "timeout_ns");
  for (json& text : object.at("texts").get_ref<json::array_t&>()) {
    embed.texts.push_back(std::move(text.get_ref<std::string&>()));
  }
  return embed;
}

RowsLeased LeasedFrom(const json& object) {
  const RowsLeased leased{Number<uint64_t>(object, "id"), Number<uint64_t>(object, "lease"),
                          Number<uint64_t>(object, "offset"), Number<uint64_t>(object, "rows"),
                          Number<uint32_t>(object, "dim")};
  if (leased.dim == 0 || leased.dim > kMaxDim) throw std::runtime_error("dim is out of range");
  return leased;
}

absl::StatusCode CodeFrom(const json& object) {
  const std::string name = Text(object, "code");
  for (int code = 1; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    if (name == absl::StatusCodeToString(static_cast<absl::StatusCode>(code)))
      return static_cast<absl::StatusCode>(code);
  }
  throw std::runtime_error("unknown code '" + Printable(name, 40) + "'");
}

ConsumerMessage FromJson(json object) {
  const std::string type = Text(object, "type");
  if (type == "embed") return EmbedFrom(object);
  if (type == "leased") return LeasedFrom(object);
  if (type == "return") return ReturnLease{Number<uint64_t>(object, "lease")};
  if (type == "hello") return ConsumerHello{Number<uint32_t>(object, "protocol"), Text(object, "device")};
  if (type == "offer") return ConsumerOffer{ArenaFrom(object.at("arena"))};
  if (type == "refused") return ConsumerRefused{Text(object, "reason")};
  if (type == "not_embedded") {
    return NotEmbedded{Number<uint64_t>(object, "id"), {CodeFrom(object), Text(object, "reason")}};
  }
  if (type == "closed") return ArenaClosed{};
  throw std::runtime_error("unknown type '" + Printable(type, 40) + "'");
}

}  // namespace

std::string EncodeConsumerMessage(const ConsumerMessage& message) {
  return std::visit(Encoder{}, message).dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<ConsumerMessage> DecodeConsumerMessage(std::string_view bytes) {
  if (bytes.size() > kMaxConsumerMessageBytes) {
    return absl::InvalidArgumentError("a message of more than " + std::to_string(kMaxConsumerMessageBytes) +
                                      " bytes");
  }
  try {
    return FromJson(json::parse(bytes));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError("bad message: " + Printable(error.what(), kMaxNameBytes));
  }
}

}  // namespace zerohop

#include "shm/json_fields.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "shm/printable.h"

namespace zerohop {
namespace {

using nlohmann::json;

std::string Hex(const cuda::CUipcMemHandle& handle) {
  const std::string_view bytes(handle.reserved, sizeof handle.reserved);
  return absl::BytesToHexString({bytes.data(), bytes.size()});
}

}  // namespace

std::string Text(const json& object, const char* name) {
  const auto& text = object.at(name).get_ref<const std::string&>();
  return Printable(text, kMaxReasonBytes);
}

json ToJson(const ArenaHandle& arena) {
  return {{"uuid", Printable(arena.device, kMaxNameBytes)},
          {"ipc", Hex(arena.ipc)},
          {"bytes", arena.bytes},
          {"proof", arena.proof}};
}

ArenaHandle ArenaFrom(const json& object) {
  ArenaHandle arena;
  arena.device = Text(object, "uuid");
  const std::string hex = Text(object, "ipc");
  if (hex.size() != 2 * sizeof arena.ipc || hex.find_first_not_of("0123456789abcdef") != hex.npos) {
    throw std::runtime_error("ipc is no memory handle");
  }
  std::memcpy(&arena.ipc, absl::HexStringToBytes(hex).data(), sizeof arena.ipc);
  arena.bytes = Number<uint64_t>(object, "bytes");
  arena.proof = Number<uint64_t>(object, "proof");
  return arena;
}

}  // namespace zerohop

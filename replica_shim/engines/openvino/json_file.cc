#include "replica_shim/engines/openvino/json_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace zerohop {

using nlohmann::json;

namespace {

const json* Member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

bool FileExists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

absl::StatusOr<json> ReadJsonFile(const std::string& path) {
  if (!FileExists(path)) return absl::NotFoundError(absl::StrCat("there is no file ", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::PermissionDeniedError(absl::StrCat("cannot read ", path));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !value.is_structured()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not valid JSON"));
  }
  return value;
}

int64_t JsonInteger(const json& object, const char* key, int64_t fallback) {
  const json* member = Member(object, key);
  return member != nullptr && member->is_number_integer() ? member->get<int64_t>() : fallback;
}

bool JsonBool(const json& object, const char* key, bool fallback) {
  const json* member = Member(object, key);
  return member != nullptr && member->is_boolean() ? member->get<bool>() : fallback;
}

std::string JsonString(const json& object, const char* key, const std::string& fallback) {
  const json* member = Member(object, key);
  return member != nullptr && member->is_string() ? member->get<std::string>() : fallback;
}

const json& JsonObject(const json& object, const char* key) {
  static const json empty = json::object();
  const json* member = Member(object, key);
  return member != nullptr && member->is_object() ? *member : empty;
}

}  // namespace zerohop

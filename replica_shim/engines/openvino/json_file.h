#pragma once

// Reading the JSON files of a model folder, with errors that name the path.
// Any thread. Files are read whole: a tokenizer.json is some megabytes.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace zerohop {

bool FileExists(const std::string& path);

// NotFound when there is no such file, InvalidArgument when it holds no JSON object or array.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);

// Members of an object, with a fallback where the member is absent, null or of another type.
int64_t JsonInteger(const nlohmann::json& object, const char* key, int64_t fallback);
bool JsonBool(const nlohmann::json& object, const char* key, bool fallback);
std::string JsonString(const nlohmann::json& object, const char* key, const std::string& fallback);
// The member if it is there and an object, else an empty object.
const nlohmann::json& JsonObject(const nlohmann::json& object, const char* key);

}  // namespace zerohop

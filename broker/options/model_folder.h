#pragma once

// Where a model's files are: --model gives a folder, the default model's name,
// or a name in the local Hugging Face cache. Nothing is downloaded.

#include <string>

#include "absl/status/statusor.h"

namespace zerohop {

inline constexpr char kDefaultModel[] = "sentence-transformers/all-MiniLM-L6-v2";

// NotFound says where was looked.
absl::StatusOr<std::string> FindModelFolder(const std::string& model);

}  // namespace zerohop

#pragma once

// Must: the value of what cannot fail in a test; throws, with the reason, where it does.

#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace zerohop {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
  return *std::move(value);
}

}  // namespace zerohop

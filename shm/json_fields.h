#pragma once

// How the decoders of control and consumer messages read JSON that anybody may
// have written: each throws where a field is missing or of another kind; they catch.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "shm/cuda/arena_handle.h"

namespace zerohop {

// So short that a message fits a packet even if every byte is escaped to six.
inline constexpr size_t kMaxReasonBytes = 2 << 10;
inline constexpr size_t kMaxNameBytes = 256;

// A number that must be there and fit.
template <typename T>
T Number(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = object.at(name);
  if (!value.is_number_integer()) throw std::runtime_error(std::string(name) + " is not an integer");
  const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>())
                                               : std::in_range<T>(value.get<int64_t>());
  if (!fits) throw std::runtime_error(std::string(name) + " is out of range");
  return value.get<T>();
}

// For people: at most kMaxReasonBytes, printable.
std::string Text(const nlohmann::json& object, const char* name);

nlohmann::json ToJson(const ArenaHandle& arena);
ArenaHandle ArenaFrom(const nlohmann::json& object);

}  // namespace zerohop

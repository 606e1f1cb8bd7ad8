#pragma once

// Printable: text from another process made fit for people, logs and protobuf
// strings: valid UTF-8, no control characters, not longer than asked for.

#include <cstddef>
#include <string>
#include <string_view>

#include "shm/utf8.h"

namespace zerohop {

// Length in bytes of the valid character that `text` begins with; 0 where none does.
inline size_t CharacterLength(std::string_view text) {
  Utf8Checker checker;
  for (size_t length = 1; length <= text.size(); ++length) {
    if (!checker.Feed(std::as_bytes(std::span(text.substr(length - 1, 1))))) return 0;
    if (checker.Complete()) return length;
  }
  return 0;
}

// C0, delete and C1: what a terminal might obey. `character` is valid.
inline bool IsControl(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  return first < 0x20 || first == 0x7f || (first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0);
}

// Bytes that are no character, and control characters, become '?', one for
// each byte. Cut between characters at `most` bytes.
inline std::string Printable(std::string_view text, size_t most) {
  std::string clean;
  while (!text.empty()) {
    size_t length = CharacterLength(text);
    const bool shown = length > 0 && !IsControl(text.substr(0, length));
    if (!shown) length = 1;
    if (clean.size() + length > most) break;
    clean += shown ? text.substr(0, length) : "?";
    text.remove_prefix(length);
  }
  return clean;
}

}  // namespace zerohop

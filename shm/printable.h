#pragma once

// Printable: text from another process made fit for people, logs and protobuf
// strings: valid UTF-8, no control characters, not longer than asked for.

#include <cstddef>
#include <string>
#include <string_view>

namespace zerohop {

// Bytes that are no character, and control characters, become '?'. Cut between
// characters at `most` bytes.
inline std::string Printable(std::string_view text, size_t most) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto continues = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  // Length of the valid character that begins at i; 0 where none does.
  auto length_at = [&](size_t i) -> size_t {
    const unsigned first = byte(i), second = byte(i + 1);
    if (first < 0x80) return first >= 0x20 && first != 0x7f;
    if (!continues(i + 1)) return 0;
    if (first >= 0xc2 && first <= 0xdf) return first == 0xc2 && second < 0xa0 ? 0 : 2;  // not the C1 controls
    if (!continues(i + 2)) return 0;
    if (first == 0xe0 ? second >= 0xa0 : first == 0xed ? second < 0xa0 : first > 0xe0 && first <= 0xef)
      return 3;
    if (!continues(i + 3)) return 0;
    return first == 0xf0   ? (second >= 0x90) * 4
           : first == 0xf4 ? (second < 0x90) * 4
                           : (first > 0xf0 && first < 0xf4) * 4;
  };
  std::string clean;
  for (size_t i = 0; i < text.size();) {
    const size_t length = length_at(i);
    if (clean.size() + (length == 0 ? 1 : length) > most) break;
    length == 0 ? clean.append("?") : clean.append(text.substr(i, length));
    i += length == 0 ? 1 : length;
  }
  return clean;
}

}  // namespace zerohop

#pragma once

// What text is, said once more: fuzzers hold shm/utf8.h and shm/printable.h to
// this, so it shares no code with them. It decodes; they run a state machine.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zerohop {

// Bytes of the character that begins with `first`; 0: none does.
inline size_t Utf8Length(uint8_t first) {
  if (first < 0x80) return 1;
  if (first >> 5 == 0b110) return 2;
  if (first >> 4 == 0b1110) return 3;
  return first >> 3 == 0b11110 ? 4 : 0;
}

// Calls `see` with each code point; false at the first byte that is not UTF-8.
template <typename See>
bool DecodeUtf8(std::string_view text, See see) {
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};  // that needs so many bytes
  while (!text.empty()) {
    const auto first = static_cast<uint8_t>(text[0]);
    const size_t length = Utf8Length(first);
    if (length == 0 || length > text.size()) return false;
    uint32_t point = length == 1 ? first : first & (0x7f >> length);
    for (size_t i = 1; i < length; ++i) {
      const auto next = static_cast<uint8_t>(text[i]);
      if (next >> 6 != 2) return false;
      point = point << 6 | (next & 0x3f);
    }
    if (point < kLeast[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
    see(point);
    text.remove_prefix(length);
  }
  return true;
}

inline bool IsUtf8(std::string_view text) {
  return DecodeUtf8(text, [](uint32_t) {});
}

// Fit for a terminal, a log and a protobuf string.
inline bool IsCleanText(std::string_view text) {
  bool clean = true;
  return DecodeUtf8(text,
                    [&](uint32_t point) { clean &= point >= 0x20 && (point < 0x7f || point > 0x9f); }) &&
         clean;
}

}  // namespace zerohop

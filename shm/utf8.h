#pragma once

// Utf8Checker: whether bytes that come in runs are UTF-8 (RFC 3629: no
// surrogates, nothing beyond U+10FFFF, no overlong forms).

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace zerohop {

class Utf8Checker {
 public:
  // False once anything was wrong.
  bool Feed(std::span<const std::byte> run) {
    size_t i = 0;
    while (good_ && i < run.size()) {
      if (expected_ == 0) i += SkipAscii(run.subspan(i));
      if (i < run.size()) Step(static_cast<uint8_t>(run[i++]));
    }
    return good_;
  }
  // At the end: nothing is missing either.
  bool Complete() const { return good_ && expected_ == 0; }

 private:
  static size_t SkipAscii(std::span<const std::byte> run) {
    size_t i = 0;
    for (uint64_t eight; i + sizeof eight <= run.size(); i += sizeof eight) {
      std::memcpy(&eight, run.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080) != 0) break;
    }
    while (i < run.size() && static_cast<uint8_t>(run[i]) < 0x80) ++i;
    return i;
  }

  void Step(uint8_t byte) {
    if (expected_ > 0) {
      good_ = byte >= low_ && byte <= high_;
      low_ = 0x80, high_ = 0xbf;
      --expected_;
    } else if (byte >= 0xc2 && byte <= 0xdf) {
      expected_ = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
      expected_ = 2;
      if (byte == 0xe0) low_ = 0xa0;   // shorter forms exist below
      if (byte == 0xed) high_ = 0x9f;  // surrogates above
    } else if (byte >= 0xf0 && byte <= 0xf4) {
      expected_ = 3;
      if (byte == 0xf0) low_ = 0x90;   // shorter forms exist below
      if (byte == 0xf4) high_ = 0x8f;  // beyond U+10FFFF above
    } else {
      good_ = byte < 0x80;
    }
  }

  bool good_ = true;
  int expected_ = 0;  // continuation bytes to come
  uint8_t low_ = 0x80, high_ = 0xbf;
};

inline bool IsUtf8(std::string_view text) {
  Utf8Checker checker;
  checker.Feed(std::as_bytes(std::span<const char>(text)));
  return checker.Complete();
}

}  // namespace zerohop

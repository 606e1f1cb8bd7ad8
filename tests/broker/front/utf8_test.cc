#include "shm/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace zerohop {
namespace {

// Fed in runs that end before each of `cuts`, ascending.
bool IsUtf8(const std::string& text, std::vector<size_t> cuts = {}) {
  Utf8Checker checker;
  size_t from = 0;
  cuts.push_back(text.size());
  for (size_t cut : cuts) {
    checker.Feed(std::as_bytes(std::span(text).subspan(from, cut - from)));
    from = cut;
  }
  return checker.Complete();
}

const std::vector<std::string> kGood = {
    "",
    "a",
    std::string(1, '\0'),
    "plain text, longer than eight bytes",
    "\x7f",
    "\xc2\x80",          // U+0080, the first of two bytes
    "\xdf\xbf",          // U+07FF, the last
    "\xe0\xa0\x80",      // U+0800, the first of three
    "\xed\x9f\xbf",      // U+D7FF, just before the surrogates
    "\xee\x80\x80",      // U+E000, just after
    "\xef\xbf\xbf",      // U+FFFF
    "\xf0\x90\x80\x80",  // U+10000, the first of four
    "\xf3\xbf\xbf\xbf",
    "\xf4\x8f\xbf\xbf",  // U+10FFFF, the last of all
    "mixed \xc3\xa9 and \xe6\xbc\xa2 and \xf0\x9f\x98\x80 in one text",
};

const std::vector<std::string> kBad = {
    "\x80",  // continuation without a start
    "\xbf",
    "\xc0\x80",  // overlong NUL
    "\xc1\xbf",  // overlong
    "\xc2",      // cut off
    "\xc2 ",     // continuation missing
    "\xc2\xc2",
    "\xe0\x80\x80",  // overlong
    "\xe0\x9f\xbf",  // overlong
    "\xe0\xa0",      // cut off
    "\xed\xa0\x80",  // surrogate U+D800
    "\xed\xbf\xbf",  // surrogate U+DFFF
    "\xef\xbf",
    "\xef\xbf ",
    "\xf0\x80\x80\x80",  // overlong
    "\xf0\x8f\xbf\xbf",  // overlong
    "\xf0\x90\x80",      // cut off
    "\xf4\x90\x80\x80",  // U+110000
    "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xfe",
    "\xff",
};

// The text in two runs and in three, wherever they end.
void ExpectAtEverySplit(const std::string& text, bool good) {
  EXPECT_EQ(IsUtf8(text), good) << testing::PrintToString(text);
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t j = i; j <= text.size(); ++j) {
      EXPECT_EQ(IsUtf8(text, {i, j}), good) << testing::PrintToString(text) << " cut at " << i << ", " << j;
    }
  }
}

TEST(Utf8, GoodTextsAreGoodAtEverySplit) {
  for (const std::string& text : kGood) ExpectAtEverySplit(text, true);
}

TEST(Utf8, BadTextsAreBadAtEverySplit) {
  for (const std::string& text : kBad) ExpectAtEverySplit(text, false);
}

TEST(Utf8, BadBytesAreFoundAnywhereInALongText) {
  for (const std::string& bad : kBad) {
    for (size_t before = 0; before < 20; ++before) {
      EXPECT_FALSE(IsUtf8(std::string(before, 'x') + bad + std::string(20, 'y'))) << before;
    }
  }
}

// Encoded by the rule of RFC 3629, all of them.
TEST(Utf8, EveryCodePointIsGoodAndEverySurrogateBad) {
  for (uint32_t point = 0; point <= 0x10ffff; ++point) {
    std::string text;
    if (point < 0x80) {
      text = {static_cast<char>(point)};
    } else if (point < 0x800) {
      text = {static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 0x3f))};
    } else if (point < 0x10000) {
      text = {static_cast<char>(0xe0 | point >> 12), static_cast<char>(0x80 | (point >> 6 & 0x3f)),
              static_cast<char>(0x80 | (point & 0x3f))};
    } else {
      text = {static_cast<char>(0xf0 | point >> 18), static_cast<char>(0x80 | (point >> 12 & 0x3f)),
              static_cast<char>(0x80 | (point >> 6 & 0x3f)), static_cast<char>(0x80 | (point & 0x3f))};
    }
    ASSERT_EQ(IsUtf8(text), point < 0xd800 || point > 0xdfff) << point;
  }
}

TEST(Utf8, OnceBadIsAlwaysBad) {
  Utf8Checker checker;
  const std::string bad = "\xff", good = "good";
  EXPECT_FALSE(checker.Feed(std::as_bytes(std::span(bad))));
  EXPECT_FALSE(checker.Feed(std::as_bytes(std::span(good))));
  EXPECT_FALSE(checker.Complete());
}

}  // namespace
}  // namespace zerohop

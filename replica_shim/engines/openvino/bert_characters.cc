#include "replica_shim/engines/openvino/bert_characters.h"

#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <stdexcept>

namespace zerohop {
namespace {

constexpr int kCategoryAge = 8;       // Unicode version of the reference's general categories
constexpr int kDecompositionAge = 9;  // and of its canonical decomposition

bool AssignedBy(UChar32 code_point, int major) {
  UVersionInfo age;
  u_charAge(code_point, age);
  return age[0] != 0 && (age[0] < major || (age[0] == major && age[1] == 0));
}

bool InCategories(UChar32 code_point, uint32_t mask) {
  return (U_GET_GC_MASK(code_point) & mask) != 0 && AssignedBy(code_point, kCategoryAge);
}

// Characters whose category changed after Unicode 8.0 are named one by one.
bool IsPunctuation(UChar32 c) {
  if (c < 0x80) return u_ispunct(c) || (U_GET_GC_MASK(c) & U_GC_S_MASK) != 0;
  return c == 0x166D || c == 0x111C9 || InCategories(c, U_GC_P_MASK);
}

bool IsAccent(UChar32 c) {
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
  return c == 0x1734 || InCategories(c, U_GC_MN_MASK);
}

bool IsWhitespace(UChar32 c) {
  return u_isUWhiteSpace(c);
}

// The ranges of the reference, which has 2B820 to 2B91F outside.
bool IsChinese(UChar32 c) {
  static constexpr std::pair<UChar32, UChar32> kRanges[] = {
      {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},  {0x20000, 0x2A6DF},
      {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& range) { return range.first <= c && c <= range.second; });
}

// Lower case that Unicode 16.0 added, for an ICU that is older.
UChar32 NewLower(UChar32 c) {
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  switch (c) {
    case 0x1C89:
      return 0x1C8A;
    case 0xA7CB:
      return 0x264;
    case 0xA7CC:
      return 0xA7CD;
    case 0xA7DA:
      return 0xA7DB;
    case 0xA7DC:
      return 0x19B;
    default:
      return c;
  }
}

void AppendUtf8(UChar32 c, std::string* text) {
  char bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, c);
  text->append(bytes, static_cast<size_t>(size));
}

void AppendFinal(UChar32 c, std::string* text) {
  if (IsWhitespace(c)) {
    text->push_back(' ');
  } else if (IsPunctuation(c)) {
    text->push_back(' ');
    AppendUtf8(c, text);
    text->push_back(' ');
  } else {
    AppendUtf8(c, text);
  }
}

const icu::Normalizer2* NfdInstance() {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfd = icu::Normalizer2::getNFDInstance(error);
  if (U_FAILURE(error)) throw std::runtime_error("ICU has no normalization data");
  return nfd;
}

}  // namespace

BertCharacters::BertCharacters(const BertNormalizerFlags& flags) : flags_(flags), nfd_(NfdInstance()) {}

bool BertCharacters::IsRemoved(UChar32 c) const {
  if (!flags_.clean_text) return false;
  if (c == 0 || c == 0xFFFD) return true;
  // U+000B, U+000C and U+0085 are whitespace too, but the reference sees the control character first.
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return InCategories(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

std::vector<BertCharacters::Unit> BertCharacters::Decompose(UChar32 c) const {
  if (!flags_.strip_accents) return {{c, 0}};  // without that flag the reference does not decompose at all
  if (!AssignedBy(c, kDecompositionAge)) return {{c, 0}};
  icu::UnicodeString decomposed;
  if (!nfd_->getDecomposition(c, decomposed)) return {{c, u_getCombiningClass(c)}};
  std::vector<Unit> units;
  for (int32_t i = 0; i < decomposed.length(); i = decomposed.moveIndex32(i, 1)) {
    const UChar32 unit = decomposed.char32At(i);
    units.push_back({unit, u_getCombiningClass(unit)});
  }
  return units;
}

std::vector<BertCharacters::Unit> BertCharacters::Units(UChar32 c) const {
  std::vector<Unit> units = Decompose(c);
  if (flags_.strip_accents) {
    // An accent of class 0 goes too, but first it is a starter: Result::has_starter tells.
    std::erase_if(units, [](const Unit& unit) { return IsAccent(unit.code_point); });
  }
  return units;
}

void BertCharacters::AppendUnit(UChar32 c, std::string* text) const {
  if (!flags_.lowercase) return AppendFinal(c, text);
  if (c == 0x130) {  // the one character whose lower case is two
    AppendFinal('i', text);
    return AppendFinal(0x307, text);
  }
  const UChar32 lower = u_tolower(c);
  AppendFinal(lower != c ? lower : NewLower(c), text);
}

BertCharacters::Entry BertCharacters::MakeEntry(UChar32 c, std::string* text) const {
  Entry entry;
  entry.offset = static_cast<uint16_t>(text->size());
  if (U_IS_SURROGATE(c) || IsRemoved(c)) return entry;
  if (flags_.clean_text && IsWhitespace(c)) {
    text->push_back(' ');
    entry.size = 1;
    entry.has_starter = true;
    return entry;
  }
  const bool chinese = flags_.handle_chinese_chars && IsChinese(c);
  if (chinese) text->push_back(' ');
  for (const Unit& unit : Decompose(c)) {
    if (unit.combining_class == 0) entry.has_starter = true;
  }
  const std::vector<Unit> units = Units(c);
  for (const Unit& unit : units) {
    if (unit.combining_class != 0) entry.needs_ordering = true;
    AppendUnit(unit.code_point, text);
  }
  if (chinese) text->push_back(' ');
  const std::string_view made = std::string_view(*text).substr(entry.offset);
  entry.size = static_cast<uint8_t>(made.size());
  int32_t code_points = 0;
  for (const char byte : made) code_points += U8_IS_TRAIL(byte) ? 0 : 1;
  entry.is_word = code_points == 1 && made[0] != ' ' && !entry.needs_ordering;
  return entry;
}

std::unique_ptr<BertCharacters::Page> BertCharacters::MakePage(UChar32 number) const {
  auto page = std::make_unique<Page>();
  for (UChar32 low = 0; low < 256; ++low) {
    page->entries[static_cast<size_t>(low)] = MakeEntry(number << 8 | low, &page->text);
  }
  return page;
}

}  // namespace zerohop

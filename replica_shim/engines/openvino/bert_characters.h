#pragma once

// BertCharacters: what BERT's normalizer and pre-tokenizer make of one character.
//
// The reference is Hugging Face's `tokenizers`, whose tables are of three ages:
// categories (control, punctuation, accent) of Unicode 8.0, canonical
// decomposition of Unicode 9.0, lower case of Unicode 16.0. ICU knows since when
// a character is assigned, so its newer tables are cut back to those ages here;
// a test compares all 1,112,064 code points with the reference.
//
// Results are computed on first use, in pages of 256 characters, so that
// loading costs nothing: use one object on one thread only.

#include <unicode/normalizer2.h>
#include <unicode/utypes.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zerohop {

// BertNormalizer of tokenizer.json.
struct BertNormalizerFlags {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;  // null in the file means: as lowercase
  bool lowercase = true;
};

class BertCharacters {
 public:
  struct Result {
    std::string_view text;  // UTF-8; a space stands for a boundary between words
    bool is_word = false;   // `text` is one code point and no boundary: the common case
    // What canonical ordering, which looks beyond one character, needs to know.
    bool has_starter = false;     // a character of combining class 0 is in it: marks do not move across
    bool needs_ordering = false;  // a mark that survives may have to move: take it apart with Units
  };

  // One code point of a decomposition, before lower case.
  struct Unit {
    UChar32 code_point;
    uint8_t combining_class;
  };

  explicit BertCharacters(const BertNormalizerFlags& flags);

  // `code_point` is any scalar value, 0 to 0x10FFFF.
  Result Of(UChar32 code_point) {
    std::unique_ptr<Page>& page = pages_[code_point >> 8];
    if (page == nullptr) page = MakePage(code_point >> 8);
    const Entry& entry = page->entries[code_point & 255];
    return {std::string_view(page->text).substr(entry.offset, entry.size), entry.is_word, entry.has_starter,
            entry.needs_ordering};
  }

  // The surviving code points of one character, in canonical order.
  std::vector<Unit> Units(UChar32 code_point) const;

  // Appends what becomes of one unit: lower case, boundaries.
  void AppendUnit(UChar32 code_point, std::string* text) const;

 private:
  struct Entry {
    uint16_t offset = 0;
    uint8_t size = 0;
    bool is_word : 1 = false;
    bool has_starter : 1 = false;
    bool needs_ordering : 1 = false;
  };
  struct Page {
    std::array<Entry, 256> entries;
    std::string text;
  };

  std::unique_ptr<Page> MakePage(UChar32 number) const;
  Entry MakeEntry(UChar32 code_point, std::string* text) const;
  bool IsRemoved(UChar32 code_point) const;
  std::vector<Unit> Decompose(UChar32 code_point) const;

  const BertNormalizerFlags flags_;
  const icu::Normalizer2* const nfd_;  // owned by ICU, never deleted
  std::array<std::unique_ptr<Page>, 0x1100> pages_;
};

}  // namespace zerohop

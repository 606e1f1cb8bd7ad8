#pragma once

// BertWordSplitter: cuts texts into the words that WordPiece takes.
//
// Does what BertNormalizer, BertPreTokenizer and the search for added tokens
// ("[SEP]" in a text) do in Hugging Face's `tokenizers`, in one pass from left
// to right. Nothing to the right of a word changes it, and each word becomes at
// least one token, so the pass ends after `max_words` words and the tokens up
// to there are exact, however long the text is.
// One thread, like BertCharacters.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "replica_shim/engines/openvino/bert_characters.h"

namespace zerohop {

struct AddedToken {
  std::string content;
  int32_t id = 0;
};

// The words of several texts, in the layout of a ragged string tensor.
struct SplitTexts {
  // A run of words, and the added token that ends it.
  struct Run {
    int32_t first_word;
    int32_t last_word;  // one past
    int32_t added_token = -1;
  };
  std::string chars;
  std::vector<int32_t> begins;  // word i is chars[begins[i], ends[i])
  std::vector<int32_t> ends;
  std::vector<Run> runs;
  std::vector<size_t> text_ends;  // text i ends before run text_ends[i]
};

class BertWordSplitter {
 public:
  // Stands for a word that no vocabulary may match: not UTF-8, so no word of a text equals it.
  static constexpr std::string_view kUnknownWord = "\xFF";

  // A word of more than `max_word_chars` characters becomes kUnknownWord.
  BertWordSplitter(const BertNormalizerFlags& flags, std::vector<AddedToken> added_tokens,
                   size_t max_word_chars);

  // Appends one text to `out`. Bytes that are not UTF-8 count as U+FFFD.
  void Append(std::string_view text, size_t max_words, SplitTexts* out);

 private:
  // Where one pass stands.
  struct Pass {
    SplitTexts& out;
    size_t words_left;
    size_t word_begin;
    size_t word_chars = 0;
    int32_t run_begin;
    std::vector<BertCharacters::Unit> marks;  // wait for the next starter to be put in order
  };

  const AddedToken* AddedTokenAt(std::string_view text) const;
  void AppendCharacter(UChar32 code_point, Pass* pass);
  void AppendMapped(std::string_view text, Pass* pass) const;
  void AppendMarks(Pass* pass) const;
  void EndWord(Pass* pass) const;
  static void EndRun(int32_t added_token, Pass* pass);

  BertCharacters characters_;
  std::vector<AddedToken> added_tokens_;     // longest first
  std::array<bool, 256> may_begin_added_{};  // by first byte
  const size_t max_word_chars_;
};

}  // namespace zerohop

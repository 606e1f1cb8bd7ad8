#include "replica_shim/engines/openvino/bert_word_splitter.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <utility>

namespace zerohop {

BertWordSplitter::BertWordSplitter(const BertNormalizerFlags& flags, std::vector<AddedToken> added_tokens,
                                   size_t max_word_chars)
    : characters_(flags), added_tokens_(std::move(added_tokens)), max_word_chars_(max_word_chars) {
  std::erase_if(added_tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(added_tokens_.begin(), added_tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() > b.content.size();
  });
  for (const AddedToken& token : added_tokens_) {
    may_begin_added_[static_cast<uint8_t>(token.content[0])] = true;
  }
}

void BertWordSplitter::Append(std::string_view text, size_t max_words, SplitTexts* out) {
  Pass pass{.out = *out,
            .words_left = max_words,
            .word_begin = out->chars.size(),
            .run_begin = static_cast<int32_t>(out->begins.size()),
            .marks = {}};
  size_t at = 0;
  while (at < text.size() && pass.words_left > 0) {
    if (may_begin_added_[static_cast<uint8_t>(text[at])]) {
      if (const AddedToken* token = AddedTokenAt(text.substr(at))) {
        EndWord(&pass);
        if (pass.words_left == 0) break;
        EndRun(token->id, &pass);
        --pass.words_left;
        at += token->content.size();
        continue;
      }
    }
    // In steps of at most a character, so that a text of any length can be read with 32-bit macros.
    const std::string_view rest = text.substr(at, U8_MAX_LENGTH);
    const auto length = static_cast<int32_t>(rest.size());
    int32_t used = 0;
    UChar32 code_point = 0;
    U8_NEXT_OR_FFFD(rest.data(), used, length, code_point);
    at += static_cast<size_t>(used);
    AppendCharacter(code_point, &pass);
  }
  EndWord(&pass);
  EndRun(-1, &pass);
  out->text_ends.push_back(out->runs.size());
}

// Leftmost, then longest, as the reference searches.
const AddedToken* BertWordSplitter::AddedTokenAt(std::string_view text) const {
  for (const AddedToken& token : added_tokens_) {
    if (text.starts_with(token.content)) return &token;
  }
  return nullptr;
}

void BertWordSplitter::AppendCharacter(UChar32 code_point, Pass* pass) {
  const BertCharacters::Result result = characters_.Of(code_point);
  if (result.needs_ordering) [[unlikely]] {
    // A starter inside the decomposition may be an accent that is dropped; it holds marks apart all the same.
    if (result.has_starter) AppendMarks(pass);
    for (const BertCharacters::Unit& unit : characters_.Units(code_point)) {
      if (unit.combining_class == 0) AppendMarks(pass);
      pass->marks.push_back(unit);
    }
    // The word is too long by now, whatever the order: no text may make us hold all its marks.
    if (pass->marks.size() > max_word_chars_) AppendMarks(pass);
    return;
  }
  if (result.has_starter && !pass->marks.empty()) [[unlikely]]
    AppendMarks(pass);
  if (!result.is_word) return AppendMapped(result.text, pass);
  if (++pass->word_chars <= max_word_chars_) pass->out.chars.append(result.text);
}

void BertWordSplitter::AppendMarks(Pass* pass) const {
  if (pass->marks.empty()) return;
  std::stable_sort(pass->marks.begin(), pass->marks.end(),
                   [](const auto& a, const auto& b) { return a.combining_class < b.combining_class; });
  std::string text;
  for (const BertCharacters::Unit& unit : pass->marks) characters_.AppendUnit(unit.code_point, &text);
  pass->marks.clear();
  AppendMapped(text, pass);
}

void BertWordSplitter::AppendMapped(std::string_view text, Pass* pass) const {
  for (const char byte : text) {
    if (byte == ' ') {
      EndWord(pass);
      continue;
    }
    if (!U8_IS_TRAIL(byte)) ++pass->word_chars;
    if (pass->word_chars <= max_word_chars_) pass->out.chars.push_back(byte);
  }
}

void BertWordSplitter::EndWord(Pass* pass) const {
  SplitTexts& out = pass->out;
  if (!pass->marks.empty()) AppendMarks(pass);  // it clears them first, so this nests once
  if (pass->word_chars == 0) return;
  if (pass->words_left > 0) {
    if (pass->word_chars > max_word_chars_) {
      out.chars.resize(pass->word_begin);
      out.chars.append(kUnknownWord);
    }
    out.begins.push_back(static_cast<int32_t>(pass->word_begin));
    out.ends.push_back(static_cast<int32_t>(out.chars.size()));
    --pass->words_left;
  } else {
    out.chars.resize(pass->word_begin);
  }
  pass->word_begin = out.chars.size();
  pass->word_chars = 0;
}

void BertWordSplitter::EndRun(int32_t added_token, Pass* pass) {
  const auto words = static_cast<int32_t>(pass->out.begins.size());
  pass->out.runs.push_back({pass->run_begin, words, added_token});
  pass->run_begin = words;
}

}  // namespace zerohop

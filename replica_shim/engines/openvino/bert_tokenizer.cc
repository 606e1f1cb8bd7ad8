#include "replica_shim/engines/openvino/bert_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "openvino/runtime/tensor.hpp"
#include "replica_shim/engines/openvino/bert_word_splitter.h"
#include "replica_shim/engines/openvino/json_file.h"
#include "replica_shim/engines/openvino/tokenizers_library.h"

namespace zerohop {
namespace {

using nlohmann::json;

// Ids that open and close every sequence: [CLS] and [SEP].
struct Template {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

// The vocabulary as the operation takes it: the word with id i is chars[begins[i], ends[i]).
struct PackedVocabulary {
  std::string chars;
  std::vector<int32_t> begins;
  std::vector<int32_t> ends;
  int32_t unknown_id = 0;
};

struct TokenizerDescription {
  BertNormalizerFlags normalizer;
  std::vector<AddedToken> added_tokens;
  Template special;
  PackedVocabulary vocabulary;
  std::string suffix_indicator;
  size_t max_word_chars = 100;
};

absl::Status Unsupported(const char* what, const std::string& found, const char* expected) {
  return absl::UnimplementedError(
      absl::StrCat("has the ", what, " '", found, "', but ", expected, " is expected"));
}

absl::StatusOr<BertNormalizerFlags> ReadNormalizer(const json& file) {
  const json& normalizer = JsonObject(file, "normalizer");
  if (const std::string type = JsonString(normalizer, "type", "none"); type != "BertNormalizer") {
    return Unsupported("normalizer", type, "BertNormalizer");
  }
  BertNormalizerFlags flags;
  flags.clean_text = JsonBool(normalizer, "clean_text", true);
  flags.handle_chinese_chars = JsonBool(normalizer, "handle_chinese_chars", true);
  flags.lowercase = JsonBool(normalizer, "lowercase", true);
  flags.strip_accents = JsonBool(normalizer, "strip_accents", flags.lowercase);
  return flags;
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const json& file, size_t vocabulary) {
  std::vector<AddedToken> tokens;
  const auto list = file.find("added_tokens");
  if (list == file.end() || !list->is_array()) return tokens;
  for (const json& entry : *list) {
    AddedToken token{.content = JsonString(entry, "content", ""), .id = 0};
    const int64_t id = JsonInteger(entry, "id", -1);
    if (id < 0 || static_cast<size_t>(id) >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("gives the added token '", token.content, "' the id ",
                                                     id, ", outside the model's 0 to ", vocabulary - 1));
    }
    // lstrip and rstrip only move whitespace, which the pre-tokenizer drops anyway.
    if (JsonBool(entry, "normalized", false) || JsonBool(entry, "single_word", false)) {
      return absl::UnimplementedError(
          absl::StrCat("has the added token '", token.content,
                       "' with normalized or single_word set, which is not supported"));
    }
    token.id = static_cast<int32_t>(id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// A special token of TemplateProcessing may stand for several ids.
bool AppendSpecial(const json& processor, const json& item, std::vector<int32_t>* ids) {
  const json& special = JsonObject(JsonObject(processor, "special_tokens"),
                                   JsonString(JsonObject(item, "SpecialToken"), "id", "").c_str());
  const auto list = special.find("ids");
  if (list == special.end() || !list->is_array()) return false;
  for (const json& id : *list) {
    if (!id.is_number_integer()) return false;
    ids->push_back(id.get<int32_t>());
  }
  return true;
}

std::optional<int32_t> PairId(const json& processor, const char* key) {
  const auto pair = processor.find(key);
  if (pair == processor.end() || !pair->is_array() || pair->size() != 2) return std::nullopt;
  if (!(*pair)[1].is_number_integer()) return std::nullopt;
  return (*pair)[1].get<int32_t>();
}

absl::StatusOr<Template> ReadTemplate(const json& file) {
  Template result;
  const json& processor = JsonObject(file, "post_processor");
  const std::string type = JsonString(processor, "type", "none");
  if (type == "none") return result;
  if (type == "BertProcessing") {
    const std::optional<int32_t> before = PairId(processor, "cls");
    const std::optional<int32_t> after = PairId(processor, "sep");
    if (!before || !after) return absl::InvalidArgumentError("has a BertProcessing without cls and sep");
    return Template{{*before}, {*after}};
  }
  if (type != "TemplateProcessing") return Unsupported("post_processor", type, "TemplateProcessing");
  const auto items = processor.find("single");
  bool seen_text = false;
  bool valid = items != processor.end() && items->is_array();
  for (const json& item : valid ? *items : json::array()) {
    if (item.is_object() && item.contains("Sequence")) {
      valid = valid && !seen_text;
      seen_text = true;
    } else {
      valid = valid && AppendSpecial(processor, item, seen_text ? &result.after : &result.before);
    }
  }
  if (!valid || !seen_text)
    return absl::InvalidArgumentError("has a TemplateProcessing that cannot be understood");
  return result;
}

absl::StatusOr<PackedVocabulary> ReadVocabulary(const json& model, const std::string& suffix_indicator,
                                                size_t vocabulary) {
  // A slot that no word of a text can match, for ids that the file does not name.
  constexpr std::string_view kHole = "\xFE";
  const json& words = JsonObject(model, "vocab");
  std::vector<std::string_view> by_id;
  for (const auto& [word, value] : words.items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("gives the word '", word, "' the id ", value.dump(),
                                                     ", outside the model's 0 to ", vocabulary - 1));
    }
    const auto id = value.get<size_t>();
    if (id >= by_id.size()) by_id.resize(id + 1, kHole);
    // These two would match without advancing.
    if (!word.empty() && word != suffix_indicator) by_id[id] = word;
  }
  const auto unknown = words.find(JsonString(model, "unk_token", "[UNK]"));
  if (unknown == words.end()) return absl::InvalidArgumentError("has a vocabulary without its unk_token");
  PackedVocabulary packed;
  packed.unknown_id = unknown->get<int32_t>();
  for (const std::string_view word : by_id) {
    packed.begins.push_back(static_cast<int32_t>(packed.chars.size()));
    packed.chars.append(word);
    packed.ends.push_back(static_cast<int32_t>(packed.chars.size()));
  }
  return packed;
}

absl::StatusOr<TokenizerDescription> ReadDescription(const json& file, size_t vocabulary) {
  TokenizerDescription description;
  absl::StatusOr<BertNormalizerFlags> normalizer = ReadNormalizer(file);
  if (!normalizer.ok()) return normalizer.status();
  description.normalizer = *normalizer;
  const std::string splitter = JsonString(JsonObject(file, "pre_tokenizer"), "type", "none");
  if (splitter != "BertPreTokenizer") return Unsupported("pre_tokenizer", splitter, "BertPreTokenizer");
  const json& model = JsonObject(file, "model");
  // Old files leave the model's type out.
  const std::string type = JsonString(model, "type", "WordPiece");
  if (type != "WordPiece") return Unsupported("model", type, "WordPiece");
  description.suffix_indicator = JsonString(model, "continuing_subword_prefix", "##");
  description.max_word_chars = static_cast<size_t>(
      std::clamp<int64_t>(JsonInteger(model, "max_input_chars_per_word", 100), 0, 1 << 16));

  absl::StatusOr<std::vector<AddedToken>> added = ReadAddedTokens(file, vocabulary);
  if (!added.ok()) return added.status();
  description.added_tokens = *std::move(added);
  absl::StatusOr<Template> special = ReadTemplate(file);
  if (!special.ok()) return special.status();
  description.special = *std::move(special);
  absl::StatusOr<PackedVocabulary> words = ReadVocabulary(model, description.suffix_indicator, vocabulary);
  if (!words.ok()) return words.status();
  description.vocabulary = *std::move(words);
  for (const auto* ids : {&description.special.before, &description.special.after}) {
    for (const int32_t id : *ids) {
      if (id < 0 || static_cast<size_t>(id) >= vocabulary) {
        return absl::InvalidArgumentError(
            absl::StrCat("adds the id ", id, ", outside the model's 0 to ", vocabulary - 1));
      }
    }
  }
  return description;
}

template <typename T>
ov::Tensor Borrow(ov::element::Type type, const T* values, size_t count) {
  return ov::Tensor(type, ov::Shape{count}, const_cast<T*>(values));
}

class BertTokenizer : public TextTokenizer {
 public:
  BertTokenizer(const TokenizerDescription& description, std::shared_ptr<ov::Node> wordpiece,
                size_t max_tokens)
      : splitter_(description.normalizer, description.added_tokens, description.max_word_chars),
        vocabulary_(description.vocabulary),
        special_(description.special),
        wordpiece_(std::move(wordpiece)),
        max_words_(max_tokens - special_.before.size() - special_.after.size()) {}

  std::vector<std::vector<int32_t>> Tokenize(std::span<const std::string_view> texts) override {
    SplitTexts split;
    for (const std::string_view text : texts) splitter_.Append(text, max_words_, &split);
    const ov::TensorVector pieces = RunWordpiece(split);
    std::vector<std::vector<int32_t>> tokens;
    size_t run = 0;
    for (const size_t end : split.text_ends) {
      std::vector<int32_t> ids = special_.before;
      for (; run < end; ++run) AppendRun(split.runs[run], run, pieces, &ids);
      ids.resize(std::min(ids.size(), special_.before.size() + max_words_));
      ids.insert(ids.end(), special_.after.begin(), special_.after.end());
      tokens.push_back(std::move(ids));
    }
    return tokens;
  }

 private:
  ov::TensorVector RunWordpiece(const SplitTexts& split) const {
    if (split.begins.empty()) return {};
    std::vector<int32_t> run_begins;
    std::vector<int32_t> run_ends;
    for (const SplitTexts::Run& run : split.runs) {
      run_begins.push_back(run.first_word);
      run_ends.push_back(run.last_word);
    }
    const auto integers = [](const std::vector<int32_t>& values) {
      return Borrow(ov::element::i32, values.data(), values.size());
    };
    const auto bytes = [](const std::string& text) {
      return Borrow(ov::element::u8, text.data(), text.size());
    };
    const ov::TensorVector inputs = {integers(run_begins),
                                     integers(run_ends),
                                     integers(split.begins),
                                     integers(split.ends),
                                     bytes(split.chars),
                                     integers(vocabulary_.begins),
                                     integers(vocabulary_.ends),
                                     bytes(vocabulary_.chars),
                                     Borrow(ov::element::i32, &vocabulary_.unknown_id, 1)};
    ov::TensorVector outputs;
    for (int i = 0; i < 3; ++i) outputs.emplace_back(ov::element::i32, ov::Shape{split.runs.size()});
    if (!wordpiece_->evaluate(outputs, inputs))
      throw std::runtime_error("WordpieceTokenizer does not evaluate");
    return outputs;
  }

  static void AppendRun(const SplitTexts::Run& run, size_t index, const ov::TensorVector& pieces,
                        std::vector<int32_t>* ids) {
    if (run.first_word != run.last_word) {
      const int32_t* all = pieces[2].data<const int32_t>();
      ids->insert(ids->end(), all + pieces[0].data<const int32_t>()[index],
                  all + pieces[1].data<const int32_t>()[index]);
    }
    if (run.added_token >= 0) ids->push_back(run.added_token);
  }

  BertWordSplitter splitter_;
  const PackedVocabulary vocabulary_;
  const Template special_;
  const std::shared_ptr<ov::Node> wordpiece_;
  const size_t max_words_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextTokenizer>> MakeBertTokenizer(const std::string& tokenizer_json,
                                                                 size_t max_tokens, size_t vocabulary) {
  absl::StatusOr<json> file = ReadJsonFile(tokenizer_json);
  if (!file.ok()) return file.status();
  absl::StatusOr<TokenizerDescription> description = ReadDescription(*file, vocabulary);
  if (!description.ok()) {
    return absl::Status(description.status().code(),
                        absl::StrCat(tokenizer_json, " ", description.status().message()));
  }
  const size_t special = description->special.before.size() + description->special.after.size();
  if (special >= max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(tokenizer_json, " adds ", special,
                                                   " special tokens, but the model takes ", max_tokens,
                                                   " tokens in all"));
  }
  absl::StatusOr<std::shared_ptr<ov::Node>> wordpiece = MakeWordpieceOperation(description->suffix_indicator);
  if (!wordpiece.ok()) return wordpiece.status();
  return std::make_unique<BertTokenizer>(*description, *std::move(wordpiece), max_tokens);
}

}  // namespace zerohop

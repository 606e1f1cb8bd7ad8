#include "tests/replica_shim/openvino/model_support.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <fstream>

namespace zerohop::testing {

std::string MiniLmFolder() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  std::string cache = variable("ZEROHOP_CACHE");
  if (cache.empty() && !variable("XDG_CACHE_HOME").empty()) cache = variable("XDG_CACHE_HOME") + "/zerohop";
  if (cache.empty()) cache = variable("HOME") + "/.cache/zerohop";
  const std::string folder = cache + "/models/sentence-transformers/all-MiniLM-L6-v2";
  EXPECT_TRUE(std::filesystem::is_directory(folder))
      << "run scripts/install: the default model is not in " << folder;
  return folder;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "zerohop-test-XXXXXX").string();
  path_ = mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::filesystem::remove_all(path_);
}

void TemporaryFolder::Write(const std::string& name, const std::string& bytes) const {
  std::filesystem::create_directories((path_ / name).parent_path());
  std::ofstream(path_ / name, std::ios::binary) << bytes;
}

nlohmann::json TokenizerJson(const std::vector<std::string>& words) {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (size_t i = 0; i < words.size(); ++i) vocabulary[words[i]] = i;
  nlohmann::json added = nlohmann::json::array();
  for (const char* content : {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}) {
    added.push_back(
        {{"id", vocabulary.at(content)}, {"content", content}, {"special", true}, {"normalized", false}});
  }
  return {{"added_tokens", added},
          {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "BertProcessing"},
            {"cls", {"[CLS]", vocabulary.at("[CLS]")}},
            {"sep", {"[SEP]", vocabulary.at("[SEP]")}}}},
          {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", vocabulary}}}};
}

EngineOptions OptionsFor(const std::string& model, const std::string& dtype) {
  EngineOptions options;
  options.model = model;
  options.dtype = dtype;
  return options;
}

Embedded Embed(Engine& engine, size_t dim, const std::vector<std::string>& texts) {
  Embedded result;
  result.rows.assign(texts.size(), std::vector<float>(dim, NAN));
  std::vector<Prompt> prompts(texts.size());
  std::vector<Prompt*> batch;
  for (size_t i = 0; i < texts.size(); ++i) {
    prompts[i].text = texts[i];
    prompts[i].row = result.rows[i];
    batch.push_back(&prompts[i]);
  }
  EXPECT_EQ(engine.Tokenize(batch), absl::OkStatus());
  EXPECT_EQ(engine.Run(batch), absl::OkStatus());
  for (const Prompt& prompt : prompts) result.tokens.push_back(prompt.tokens);
  return result;
}

std::vector<int32_t> TokensOf(Engine& engine, const std::string& text) {
  Prompt prompt;
  prompt.text = text;
  Prompt* const batch[] = {&prompt};
  EXPECT_EQ(engine.Tokenize(batch), absl::OkStatus());
  return prompt.tokens;
}

absl::Status TokenizeIds(Engine& engine, const std::vector<int32_t>& ids) {
  Prompt prompt;
  prompt.kind = PromptKind::kTokenIds;
  prompt.token_ids = ids;
  Prompt* const batch[] = {&prompt};
  const absl::Status status = engine.Tokenize(batch);
  if (status.ok()) {
    EXPECT_EQ(prompt.tokens, ids);
  }
  return status;
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;  // also when it is NaN
  }
  return largest;
}

double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace zerohop::testing

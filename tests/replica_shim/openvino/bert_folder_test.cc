// Folders of the BERT family made on the spot: right ones give the reference's
// rows, wrong ones give one sentence that names the path.

#include <gtest/gtest.h>

#include <filesystem>

#include "replica_shim/engines/openvino/openvino_engine.h"
#include "tests/replica_shim/openvino/tiny_bert.h"

namespace zerohop {
namespace {

using testing::Embed;
using testing::Embedded;
using testing::TemporaryFolder;
using testing::TinyBert;
using testing::TinyBertOptions;

const std::vector<std::string> kTexts = {"the cat sat on the mat.", "dog", "",
                                         "abc the ranning dog [SEP] fast", "x"};

void ExpectReferenceRows(const TinyBertOptions& options) {
  const TemporaryFolder folder;
  const TinyBert bert(options);
  bert.Write(folder);
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(folder.path(), "float32"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->dim, TinyBert::kHidden);
  EXPECT_EQ(info->max_tokens, 32U);
  const Embedded got = Embed(*engine, info->dim, kTexts);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    EXPECT_LE(testing::LargestDifference(got.rows[i], bert.Reference(got.tokens[i])), 1e-5) << kTexts[i];
  }
}

TEST(BertFolder, ClsPoolingWithoutNormalizeEqualsReference) {
  ExpectReferenceRows({.prefix = ""});
}

TEST(BertFolder, MeanPoolingWithNormalizeEqualsReference) {
  ExpectReferenceRows({.pooling = "mean", .normalize = true, .prefix = "", .seed = 2});
}

TEST(BertFolder, PrefixedNamesAndOtherActivationsEqualReference) {
  ExpectReferenceRows({.prefix = "bert.", .activation = "gelu_new", .seed = 3});
  ExpectReferenceRows({.pooling = "mean", .prefix = "bert.", .activation = "relu", .seed = 4});
}

TEST(BertFolder, HalfPrecisionWeightsEqualReference) {
  ExpectReferenceRows({.dtype = "F16", .prefix = "", .seed = 5});
  ExpectReferenceRows({.pooling = "mean", .normalize = true, .dtype = "BF16", .prefix = "", .seed = 6});
}

TEST(BertFolder, RowDoesNotDependOnItsBatch) {
  const TemporaryFolder folder;
  TinyBert({.pooling = "mean", .prefix = ""}).Write(folder);
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  ASSERT_TRUE(engine->Load(testing::OptionsFor(folder.path(), "float32")).ok());
  const Embedded all = Embed(*engine, TinyBert::kHidden, kTexts);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const Embedded one = Embed(*engine, TinyBert::kHidden, {kTexts[i]});
    EXPECT_LE(testing::LargestDifference(one.rows[0], all.rows[i]), 1e-6) << kTexts[i];
  }
}

TEST(BertFolder, WithoutModulesIsMeanPooledAndTakesAllPositions) {
  const TemporaryFolder folder;
  const TinyBert bert({.pooling = "mean", .prefix = ""});
  bert.Write(folder);
  for (const char* file : {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"}) {
    std::filesystem::remove(folder.path() + "/" + file);
  }
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(folder.path() + "/", "float32"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->max_tokens, TinyBert::kPositions);
  const Embedded got = Embed(*engine, info->dim, {"the cat"});
  EXPECT_LE(testing::LargestDifference(got.rows[0], bert.Reference(got.tokens[0])), 1e-5);
}

// Writes a good folder, replaces `file` by `bytes` (or removes it), and loads it.
absl::Status LoadBroken(const std::string& file, const std::string* bytes, std::string* path) {
  const TemporaryFolder folder;
  TinyBert({.prefix = ""}).Write(folder);
  *path = folder.path();
  if (bytes == nullptr) {
    std::filesystem::remove(folder.path() + "/" + file);
  } else {
    folder.Write(file, *bytes);
  }
  return MakeOpenVinoEngine()->Load(testing::OptionsFor(folder.path(), "float32")).status();
}

// The error names the folder, and is one line of a readable length.
void ExpectSentence(const absl::Status& status, const std::string& path, const std::string& part) {
  const std::string message(status.message());
  EXPECT_FALSE(status.ok()) << part;
  EXPECT_NE(message.find(path), std::string::npos) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 400U) << message;
}

TEST(BertFolder, MissingFilesAreNamed) {
  ExpectSentence(MakeOpenVinoEngine()->Load(testing::OptionsFor("/no/such", "auto")).status(), "/no/such",
                 "there is no model folder");
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"}) {
    std::string path;
    const absl::Status status = LoadBroken(file, nullptr, &path);
    ExpectSentence(status, path, file);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  }
}

TEST(BertFolder, BrokenFilesAreNamed) {
  const std::string weights = TinyBert({.prefix = ""}).Safetensors();
  nlohmann::json config = TinyBert({.prefix = ""}).Config();
  config["hidden_size"] = 32;
  const std::pair<std::string, std::string> cases[] = {
      {"config.json", "{"},
      {"config.json", "[]"},
      {"config.json", R"({"model_type":"bert"})"},
      {"config.json", R"({"model_type":"xlm-roberta"})"},
      {"config.json", config.dump()},  // the weights have other shapes
      {"modules.json", "nothing"},
      {"modules.json", R"([{"path":"2_Dense","type":"sentence_transformers.models.Dense"}])"},
      {"1_Pooling/config.json", R"({"pooling_mode_max_tokens":true})"},
      {"1_Pooling/config.json", R"({"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true})"},
      {"tokenizer.json", "{}"},
      {"tokenizer.json", "\xFF"},
      {"model.safetensors", ""},
      {"model.safetensors", weights.substr(0, 100)},
      {"model.safetensors", weights.substr(0, weights.size() - 1)},
      {"model.safetensors", std::string("\x02\0\0\0\0\0\0\0{}", 10)},  // valid, but empty
  };
  for (const auto& [file, bytes] : cases) {
    std::string path;
    const absl::Status status = LoadBroken(file, &bytes, &path);
    ExpectSentence(status, path, "");
  }
}

TEST(BertFolder, TokenizersOfAnotherKindAreNamed) {
  const std::vector<std::string> words = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"};
  const auto expect = [&](const char* pointer, const nlohmann::json& value, const char* part) {
    nlohmann::json tokenizer = testing::TokenizerJson(words);
    tokenizer[nlohmann::json::json_pointer(pointer)] = value;
    const std::string bytes = tokenizer.dump();
    std::string path;
    const absl::Status status = LoadBroken("tokenizer.json", &bytes, &path);
    ExpectSentence(status, path + "/tokenizer.json", part);
  };
  expect("/model/type", "BPE", "the model 'BPE'");
  expect("/normalizer/type", "NFC", "the normalizer 'NFC'");
  expect("/pre_tokenizer/type", "Metaspace", "the pre_tokenizer 'Metaspace'");
  expect("/post_processor/type", "RobertaProcessing", "the post_processor 'RobertaProcessing'");
  expect("/post_processor/cls", nlohmann::json::array({"[CLS]", 1000}), "adds the id 1000");
  expect("/model/unk_token", "[NONE]", "unk_token");
  expect("/model/vocab/extra", 1000, "'extra' the id 1000");
  expect("/model/vocab/extra", -1, "'extra' the id -1");
  expect("/added_tokens/0/id", 1000, "the id 1000");
  expect("/added_tokens/0/normalized", true, "normalized or single_word");
}

TEST(BertFolder, UnknownOptionsAreRefused) {
  const TemporaryFolder folder;
  TinyBert({.prefix = ""}).Write(folder);
  EngineOptions options = testing::OptionsFor(folder.path(), "int4");
  EXPECT_EQ(MakeOpenVinoEngine()->Load(options).status().message(),
            "dtype is 'int4', but auto, float32 or bfloat16 is expected");
  options.dtype = "float32";
  options.threads = 0;
  EXPECT_EQ(MakeOpenVinoEngine()->Load(options).status().message(),
            "threads is 0, but at least 1 is expected");
}

TEST(BertFolder, TokensOfAPassAreAsSaid) {
  const TemporaryFolder folder;
  TinyBert({.prefix = ""}).Write(folder);
  EngineOptions options = testing::OptionsFor(folder.path(), "float32");
  const auto own_choice = MakeOpenVinoEngine()->Load(options);
  ASSERT_TRUE(own_choice.ok()) << own_choice.status();
  EXPECT_EQ(own_choice->batch_tokens, 768U);
  options.batch_tokens = 123;
  const auto as_said = MakeOpenVinoEngine()->Load(options);
  ASSERT_TRUE(as_said.ok()) << as_said.status();
  EXPECT_EQ(as_said->batch_tokens, 123U);
}

TEST(BertFolder, MissingTokenizersLibraryIsNamed) {
  const TemporaryFolder folder;
  TinyBert({.prefix = ""}).Write(folder);
  setenv("ZEROHOP_OPENVINO_TOKENIZERS", "/no/such/library.so", 1);
  const absl::Status status =
      MakeOpenVinoEngine()->Load(testing::OptionsFor(folder.path(), "float32")).status();
  unsetenv("ZEROHOP_OPENVINO_TOKENIZERS");
  ExpectSentence(status, "/no/such/library.so", "cannot load");
}

}  // namespace
}  // namespace zerohop

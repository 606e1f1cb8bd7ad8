// The default model against reference vectors and token ids (tests/golden/minilm.json,
// made by sentence-transformers in fp32), and the limits of its prompts.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <memory>

#include "absl/strings/escaping.h"
#include "replica_shim/engines/openvino/openvino_engine.h"
#include "tests/replica_shim/openvino/model_support.h"

namespace zerohop {
namespace {

using testing::Embed;
using testing::Embedded;
using testing::TokenizeIds;
using testing::TokensOf;

struct Golden {
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> rows;
};

Golden ReadGolden() {
  std::ifstream file(ZEROHOP_TEST_GOLDEN "/minilm.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  Golden golden;
  for (const nlohmann::json& row : json.at("rows")) {
    golden.texts.push_back(row.at("text"));
    golden.tokens.push_back(row.at("token_ids"));
    std::string bytes;
    EXPECT_TRUE(absl::Base64Unescape(row.at("embedding_fp32_le_base64").get<std::string>(), &bytes));
    std::vector<float>& values = golden.rows.emplace_back(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  return golden;
}

class MiniLm : public ::testing::Test {
 protected:
  // Once for all tests: loading takes longer than most of them.
  static void SetUpTestSuite() {
    engine_ = MakeOpenVinoEngine().release();
    const auto info = engine_->Load(testing::OptionsFor(testing::MiniLmFolder(), "float32"));
    ASSERT_TRUE(info.ok()) << info.status();
    info_ = *info;
  }
  static void TearDownTestSuite() {
    delete engine_;
    engine_ = nullptr;
  }

  static inline Engine* engine_ = nullptr;
  static inline EngineInfo info_;
};

TEST_F(MiniLm, InfoSaysWhatTheFolderSays) {
  EXPECT_EQ(info_.dim, 384U);
  EXPECT_EQ(info_.max_tokens, 256U);
  EXPECT_EQ(info_.vocabulary, 30522U);
  EXPECT_EQ(info_.dtype, "float32");
  EXPECT_EQ(info_.engine.substr(0, 11), "openvino 20");
  EXPECT_GT(info_.batch_tokens, 0U);
  EXPECT_GT(info_.batch_prompts, 0U);
}

TEST_F(MiniLm, Float32EqualsTheReferenceOneByOne) {
  const Golden golden = ReadGolden();
  ASSERT_EQ(golden.texts.size(), 57U);
  for (size_t i = 0; i < golden.texts.size(); ++i) {
    const Embedded got = Embed(*engine_, info_.dim, {golden.texts[i]});
    EXPECT_EQ(got.tokens[0], golden.tokens[i]) << golden.texts[i];
    EXPECT_LE(testing::LargestDifference(got.rows[0], golden.rows[i]), 2e-6) << golden.texts[i];
  }
}

TEST_F(MiniLm, Float32EqualsTheReferenceInOneBatch) {
  const Golden golden = ReadGolden();
  const Embedded got = Embed(*engine_, info_.dim, golden.texts);
  EXPECT_EQ(got.tokens, golden.tokens);
  for (size_t i = 0; i < golden.texts.size(); ++i) {
    EXPECT_LE(testing::LargestDifference(got.rows[i], golden.rows[i]), 2e-6) << golden.texts[i];
  }
}

TEST_F(MiniLm, Bfloat16PointsWhereTheReferencePoints) {
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(testing::MiniLmFolder(), "bfloat16"));
  if (info.status().code() == absl::StatusCode::kFailedPrecondition) GTEST_SKIP() << info.status().message();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->dtype, "bfloat16");
  const Golden golden = ReadGolden();
  const Embedded got = Embed(*engine, info->dim, golden.texts);
  for (size_t i = 0; i < golden.texts.size(); ++i) {
    EXPECT_GE(testing::Cosine(got.rows[i], golden.rows[i]), 0.999) << golden.texts[i];
  }
}

TEST_F(MiniLm, EmptyTextIsTheTwoSpecialTokens) {
  EXPECT_EQ(TokensOf(*engine_, ""), (std::vector<int32_t>{101, 102}));
  EXPECT_EQ(TokensOf(*engine_, " \n\t "), (std::vector<int32_t>{101, 102}));
}

TEST_F(MiniLm, TextLongerThanTheLimitKeepsItsFirstTokens) {
  // "a b c ... " in single letters: one token each, so that the limit falls where we can see it.
  std::string text;
  std::vector<int32_t> expected = {101};
  for (int i = 0; i < 254; ++i) {
    text += std::string(1, static_cast<char>('a' + i % 26)) + " ";
    expected.push_back(TokensOf(*engine_, std::string(1, static_cast<char>('a' + i % 26)))[1]);
  }
  expected.push_back(102);
  EXPECT_EQ(TokensOf(*engine_, text), expected);
  EXPECT_EQ(TokensOf(*engine_, text + "more words"), expected);
  // The 254th token is in the middle of a word of several.
  const std::string tail = text.substr(0, text.size() - 2) + "internationalization";
  const std::vector<int32_t> tokens = TokensOf(*engine_, tail);
  ASSERT_EQ(tokens.size(), 256U);
  EXPECT_EQ(tokens[254], TokensOf(*engine_, "internationalization")[1]);
}

TEST_F(MiniLm, HugeTextHasTheTokensOfItsBeginning) {
  std::string beginning;
  for (int i = 0; i < 300; ++i) beginning += "ordinary words ";
  std::string text;
  while (text.size() < 5'000'000) text += beginning;
  EXPECT_EQ(TokensOf(*engine_, text), TokensOf(*engine_, beginning));
  EXPECT_EQ(TokensOf(*engine_, std::string(5'000'000, 'a')), (std::vector<int32_t>{101, 100, 102}));
  std::string marks = "a";
  while (marks.size() < 1'000'000) marks += "\xF0\x9D\x85\xA5";  // U+1D165, a mark that is kept
  EXPECT_EQ(TokensOf(*engine_, marks), (std::vector<int32_t>{101, 100, 102}));
}

TEST_F(MiniLm, InvalidUtf8CountsAsReplacementCharacters) {
  EXPECT_EQ(TokensOf(*engine_, "hello \xFF\xC3 world\xE2\x82"), TokensOf(*engine_, "hello world"));
}

TEST_F(MiniLm, ValidTokenIdsAreTakenAsTheyAre) {
  EXPECT_TRUE(TokenizeIds(*engine_, {0}).ok());
  EXPECT_TRUE(TokenizeIds(*engine_, {30521, 5, 101}).ok());
  EXPECT_TRUE(TokenizeIds(*engine_, std::vector<int32_t>(256, 7)).ok());
}

TEST_F(MiniLm, InvalidTokenIdsAreRefusedWithPositionAndRange) {
  const absl::Status beyond = TokenizeIds(*engine_, {101, 30522, 102});
  EXPECT_EQ(beyond.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(beyond.message(), "the token id at position 1 is 30522, but 0 to 30521 are valid");
  EXPECT_EQ(TokenizeIds(*engine_, {-1}).message(),
            "the token id at position 0 is -1, but 0 to 30521 are valid");
  EXPECT_EQ(TokenizeIds(*engine_, {}).message(), "the prompt has 0 token ids, but 1 to 256 are allowed");
  EXPECT_EQ(TokenizeIds(*engine_, std::vector<int32_t>(257, 7)).message(),
            "the prompt has 257 token ids, but 1 to 256 are allowed");
}

TEST_F(MiniLm, TextAndItsTokenIdsGiveTheSameRow) {
  const Embedded text = Embed(*engine_, info_.dim, {"the same row"});
  Prompt prompt;
  std::vector<float> row(info_.dim);
  prompt.kind = PromptKind::kTokenIds;
  prompt.token_ids = text.tokens[0];
  prompt.row = row;
  Prompt* const batch[] = {&prompt};
  ASSERT_TRUE(engine_->Tokenize(batch).ok());
  ASSERT_TRUE(engine_->Run(batch).ok());
  EXPECT_EQ(row, text.rows[0]);
}

TEST_F(MiniLm, RowOfAnotherDimensionIsNotWritten) {
  std::vector<float> row(info_.dim + 1, 7.0F);
  Prompt prompt;
  prompt.tokens = {101, 102};
  prompt.row = std::span(row).first(info_.dim - 1);
  Prompt* const batch[] = {&prompt};
  EXPECT_EQ(engine_->Run(batch).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(row, std::vector<float>(info_.dim + 1, 7.0F));
}

}  // namespace
}  // namespace zerohop

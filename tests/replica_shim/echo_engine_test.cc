#include "replica_shim/engines/echo_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/must.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

std::vector<float> EchoRow(const std::string& text, size_t dim) {
  std::vector<float> row(dim);
  FillEchoRow(std::as_bytes(std::span(text)), row);
  return row;
}

// Computed from the recipe in echo_engine.h by another program, in another language.
TEST(EchoEngine, RowsAreWhatTheRecipeSays) {
  EXPECT_EQ(EchoRow("hello", 3),
            std::vector<float>({7596270 / 8388608.0f, 1993881 / 8388608.0f, -5516881 / 8388608.0f}));
  EXPECT_EQ(EchoRow("", 3),
            std::vector<float>({4424060 / 8388608.0f, -7336742 / 8388608.0f, -2833499 / 8388608.0f}));
}

TEST(EchoEngine, ValuesLieBetweenMinusOneAndOne) {
  for (float x : EchoRow("some text", 4096)) {
    EXPECT_GE(x, -1.0f);
    EXPECT_LT(x, 1.0f);
  }
}

TEST(EchoEngine, LoadsWithTheDimensionAskedForAndSaysThatItIsNoModel) {
  EngineOptions options;
  options.engine = "echo";
  options.echo_dim = 12;
  auto engine = Must(MakeEngine(options));
  const EngineInfo info = Must(engine->Load(options));
  EXPECT_EQ(info.dim, 12u);
  EXPECT_THAT(info.engine, HasSubstr("not a model"));
  options.echo_dim = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(engine->Load(options).status()));
}

TEST(EchoEngine, TextAndTokenIdsAreAnsweredByTheirBytes) {
  EngineOptions options;
  options.engine = "echo";
  options.echo_dim = 4;
  auto engine = Must(MakeEngine(options));
  (void)Must(engine->Load(options));
  const int32_t ids[] = {0x6c6c6568, 0x6f};  // "hello" and three zero bytes
  std::vector<float> text_row(4), ids_row(4);
  Prompt text, token_ids;
  text.text = "hello";
  text.row = text_row;
  token_ids.kind = PromptKind::kTokenIds;
  token_ids.token_ids = ids;
  token_ids.row = ids_row;
  Prompt* const batch[] = {&text, &token_ids};
  ASSERT_TRUE(engine->Tokenize(batch).ok());
  ASSERT_TRUE(engine->Run(batch).ok());
  EXPECT_EQ(text_row, EchoRow("hello", 4));
  EXPECT_EQ(ids_row, EchoRow(std::string("hello\0\0\0", 8), 4));
}

TEST(EngineRegistry, UnknownEngineIsRefusedWithTheNamesThatThereAre) {
  EngineOptions options;
  options.engine = "oracle";
  const absl::Status status = MakeEngine(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'oracle'"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("echo"));
}

}  // namespace
}  // namespace zerohop

// Token ids, texts and cursors: what is checked once the prompts are found.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/front/piece_cursor.h"
#include "broker/front/wire_scan.h"
#include "tests/support/split_body.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

// Prompts side by side, after a byte that belongs to none, so that ids lie unaligned.
SplitBody BodyOf(const std::vector<std::string>& prompts, const std::vector<size_t>& cuts = {}) {
  std::string message = "!";
  PromptPlaces places;
  for (const std::string& prompt : prompts) {
    places.push_back({message.size(), static_cast<uint32_t>(prompt.size())});
    message += prompt;
  }
  SplitBody split(message, cuts);
  split.body.prompts = places;
  return split;
}

std::string Ids(const std::vector<int32_t>& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)};
}

absl::Status CheckIds(const std::vector<std::string>& prompts, uint32_t vocabulary = 100,
                      uint32_t max_tokens = 4) {
  return CheckTokenIds(BodyOf(prompts).body, vocabulary, max_tokens);
}

TEST(TokenIds, IdsWithinTheVocabularyAreGood) {
  EXPECT_TRUE(CheckIds({Ids({0, 99}), Ids({1, 2, 3, 4})}).ok());
  EXPECT_TRUE(CheckIds({}).ok());
}

TEST(TokenIds, HalfAnIdNamesThePrompt) {
  const absl::Status status = CheckIds({Ids({1}), "123"});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "Prompt 1: expected int32 token ids, a multiple of 4 bytes, got 3 bytes");
}

TEST(TokenIds, TooManyOrNoneNamesThePrompt) {
  EXPECT_EQ(CheckIds({Ids({1, 2, 3, 4, 5})}).message(), "Prompt 0: expected 1 to 4 token ids, got 5");
  EXPECT_EQ(CheckIds({Ids({1}), ""}).message(), "Prompt 1: expected 1 to 4 token ids, got 0");
}

TEST(TokenIds, IdOutsideTheVocabularyNamesPromptAndPosition) {
  EXPECT_EQ(CheckIds({Ids({1}), Ids({5, 100})}).message(),
            "Prompt 1: token id 100 at position 1 is outside the vocabulary, 0 to 99");
  EXPECT_EQ(CheckIds({Ids({-1})}).message(),
            "Prompt 0: token id -1 at position 0 is outside the vocabulary, 0 to 99");
}

TEST(TokenIds, UnknownVocabularyStillRefusesNegativesInWordsThatMakeSense) {
  EXPECT_TRUE(CheckIds({Ids({2147483647})}, 0).ok());
  const absl::Status status = CheckIds({Ids({-5})}, 0);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("0 to -1")));
}

TEST(TokenIds, IdsAreReadAcrossPieces) {
  const std::string bad = Ids({1, 2, 100});
  for (size_t cut = 0; cut <= bad.size() + 1; ++cut) {
    for (size_t other = cut; other <= bad.size() + 1; ++other) {
      const SplitBody split = BodyOf({bad}, {cut, other});
      EXPECT_THAT(std::string(CheckTokenIds(split.body, 100, 4).message()),
                  HasSubstr("token id 100 at position 2"));
      EXPECT_TRUE(CheckTokenIds(split.body, 101, 4).ok());
    }
  }
}

TEST(TokenIds, FirstOfSeveralBadIdsIsNamedWhereverItLies) {
  std::vector<int32_t> ids(2000, 7);
  ids.back() = 100;
  for (uint32_t position = 0; position + 1 < ids.size(); position += 37) {
    ids[position] = -1;
    const SplitBody split = BodyOf({Ids(ids)}, {position, 3001});
    EXPECT_THAT(std::string(CheckTokenIds(split.body, 100, 2000).message()),
                HasSubstr("token id -1 at position " + std::to_string(position) + " is"));
    ids[position] = 7;
  }
  EXPECT_THAT(std::string(CheckIds({Ids(ids)}, 100, 2000).message()),
              HasSubstr("token id 100 at position 1999"));
}

TEST(TokenIds, NegativesAreOutsideEvenTheLargestVocabulary) {
  EXPECT_TRUE(CheckIds({Ids({2147483647})}, ~0u).ok());
  EXPECT_EQ(CheckIds({Ids({-1})}, ~0u).message(),
            "Prompt 0: token id -1 at position 0 is outside the vocabulary, 0 to 4294967294");
}

TEST(Texts, BadTextNamesThePrompt) {
  SplitBody split = BodyOf({"fine", "also \xc3\xa9", "bad \xc3"});
  const absl::Status status = CheckTexts(&split.body, 100);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "Prompt 2: the text is not valid UTF-8");
}

TEST(Texts, CharacterThatTwoPromptsShareIsBadInBoth) {
  SplitBody split = BodyOf({"\xc3", "\xa9"});
  EXPECT_EQ(CheckTexts(&split.body, 100).message(), "Prompt 0: the text is not valid UTF-8");
}

TEST(Texts, ShortTextIsNotCut) {
  SplitBody split = BodyOf({"exactly8"});
  ASSERT_TRUE(CheckTexts(&split.body, 8).ok());
  EXPECT_EQ(split.body.prompts[0].length, 8u);
}

TEST(Texts, LongTextIsCutBetweenCharactersWhereverThePiecesEnd) {
  const std::string text = "a\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80z";  // 1 + 2 + 3 + 4 + 1 bytes
  const uint32_t starts[] = {0, 1, 3, 6, 10, 11};
  for (uint32_t most = 0; most <= 12; ++most) {
    uint32_t expected = 0;
    for (uint32_t start : starts) {
      if (start <= most) expected = start;
    }
    for (size_t cut = 0; cut <= text.size() + 1; ++cut) {
      SplitBody split = BodyOf({text}, {cut});
      ASSERT_TRUE(CheckTexts(&split.body, most).ok());
      EXPECT_EQ(split.body.prompts[0].length, expected) << "at most " << most;
    }
  }
}

TEST(Texts, WholeTextIsCheckedEvenWhereItIsCut) {
  SplitBody split = BodyOf({"good start, bad end\xff"});
  EXPECT_FALSE(CheckTexts(&split.body, 4).ok());
}

TEST(PieceCursor, ReadsTheSameWhereverThePiecesEnd) {
  const std::string message = "\x96\x01hello\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01!";
  for (size_t i = 0; i <= message.size(); ++i) {
    for (size_t j = i; j <= message.size(); ++j) {
      const SplitBody split(message, {i, i, j});
      PieceCursor cursor(split.body);
      uint64_t number = 0;
      char text[4];
      uint8_t byte = 0;
      EXPECT_EQ(cursor.remaining(), message.size());
      ASSERT_TRUE(cursor.ReadVarint(&number));
      EXPECT_EQ(number, 150u);
      ASSERT_TRUE(cursor.Skip(1));
      ASSERT_TRUE(cursor.Read(text, 4));
      EXPECT_EQ(std::string(text, 4), "ello");
      ASSERT_TRUE(cursor.ReadVarint(&number));
      EXPECT_EQ(number, ~uint64_t{0});
      EXPECT_FALSE(cursor.Skip(2)) << "beyond the end";
      EXPECT_FALSE(cursor.Read(text, 2));
      ASSERT_TRUE(cursor.ReadByte(&byte));
      EXPECT_EQ(byte, '!');
      EXPECT_FALSE(cursor.ReadByte(&byte));
      EXPECT_TRUE(cursor.NextRun(100).empty());
      EXPECT_EQ(cursor.position(), message.size());
    }
  }
}

TEST(PieceCursor, RangeBeginsAndEndsWhereItWasTold) {
  const std::string message = "0123456789";
  for (size_t cut = 0; cut <= message.size(); ++cut) {
    for (uint64_t from = 0; from <= message.size(); ++from) {
      for (uint64_t length = 0; from + length <= message.size(); ++length) {
        const SplitBody split(message, {cut, cut});
        PieceCursor cursor(split.body, from, length);
        std::string text;
        for (auto run = cursor.NextRun(3); !run.empty(); run = cursor.NextRun(3)) {
          text.append(reinterpret_cast<const char*>(run.data()), run.size());
        }
        EXPECT_EQ(text, message.substr(from, length));
      }
    }
  }
}

TEST(PieceCursor, NumberThatDoesNotEndIsRefused) {
  uint64_t number;
  const SplitBody eleven(std::string(10, '\xff') + "\x01", {});
  EXPECT_FALSE(PieceCursor(eleven.body).ReadVarint(&number));
  const SplitBody cut_off("\xff", {});
  EXPECT_FALSE(PieceCursor(cut_off.body).ReadVarint(&number));
}

}  // namespace
}  // namespace zerohop

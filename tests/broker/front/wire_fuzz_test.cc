// The scan survives any bytes: it parses them or says what is broken, and what
// it found always lies within the message.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "broker/front/wire_scan.h"
#include "tests/support/split_body.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string Text(uint32_t field, const std::string& text) {
  return Varint(field << 3 | 2) + Varint(text.size()) + text;
}
std::string Number(uint32_t field, uint64_t value) {
  return Varint(field << 3) + Varint(value);
}

std::string Message() {
  return Text(1, "request-7") + Number(2, 3) + Text(3, "first") + Text(3, "") + Text(3, "third, longer") +
         Text(5, "model") + Number(6, static_cast<uint64_t>(-4)) + Varint(99 << 3 | 1) + "12345678" +
         Varint(98 << 3 | 5) + "1234" + Text(97, "unknown");
}

absl::Status Scan(const SplitBody& split, ScannedRequest* request) {
  return ScanEncodeRequest(split.body, 1000, request);
}
absl::Status Scan(const std::string& message) {
  ScannedRequest request;
  return Scan(SplitBody(message, {}), &request);
}

// Scans, and holds the result to what any caller relies on.
void ExpectSound(const std::string& message, std::mt19937& random) {
  SplitBody split = RandomlySplit(message, random);
  ScannedRequest request;
  const absl::Status status = Scan(split, &request);
  if (!status.ok()) {
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
    ASSERT_FALSE(status.message().empty());
    return;
  }
  for (const PromptPlace& prompt : request.prompts) {
    ASSERT_LE(prompt.offset + prompt.length, message.size());
    ASSERT_EQ(TextOf(split.body, prompt), message.substr(prompt.offset, prompt.length));
  }
  split.body.prompts = request.prompts;
  (void)CheckTokenIds(split.body, 100, 100);
  (void)CheckTexts(&split.body, random() % 20);
}

TEST(WireScan, FindsEveryFieldWhereverThePiecesEnd) {
  const std::string message = Message();
  for (size_t i = 0; i <= message.size(); ++i) {
    const SplitBody split(message, {i});
    ScannedRequest request;
    ASSERT_TRUE(Scan(split, &request).ok());
    EXPECT_EQ(request.request_id, "request-7");
    EXPECT_EQ(request.model_name, "model");
    EXPECT_EQ(request.n_prompts, 3);
    EXPECT_EQ(request.priority, -4);
    EXPECT_EQ(request.kind, PromptKind::kText);
    ASSERT_EQ(request.prompts.size(), 3u);
    EXPECT_EQ(TextOf(split.body, request.prompts[0]), "first");
    EXPECT_EQ(TextOf(split.body, request.prompts[1]), "");
    EXPECT_EQ(TextOf(split.body, request.prompts[2]), "third, longer");
  }
}

TEST(WireScan, EmptyMessageIsAnEmptyRequest) {
  ScannedRequest request;
  ASSERT_TRUE(Scan(SplitBody("", {}), &request).ok());
  EXPECT_TRUE(request.request_id.empty());
  EXPECT_EQ(request.n_prompts, 0);
  EXPECT_TRUE(request.prompts.empty());
  RequestBody none;
  EXPECT_TRUE(ScanEncodeRequest(none, 10, &request).ok()) << "a message without any piece";
}

TEST(WireScan, TokenIdsWinOverTexts) {
  const SplitBody split(Text(4, "abcd") + Text(3, "text") + Text(4, "efgh"), {});
  ScannedRequest request;
  ASSERT_TRUE(Scan(split, &request).ok());
  EXPECT_EQ(request.kind, PromptKind::kTokenIds);
  ASSERT_EQ(request.prompts.size(), 2u);
  EXPECT_EQ(TextOf(split.body, request.prompts[1]), "efgh");
}

TEST(WireScan, LastScalarWins) {
  const SplitBody split(Number(2, 1) + Text(5, "old") + Number(2, 2) + Text(5, "new"), {});
  ScannedRequest request;
  ASSERT_TRUE(Scan(split, &request).ok());
  EXPECT_EQ(request.n_prompts, 2);
  EXPECT_EQ(request.model_name, "new");
}

TEST(WireScan, KnownFieldOfAnotherWireTypeIsSkipped) {
  const SplitBody split(Text(2, "seven") + Number(3, 7) + Number(1, 1) + Varint(4 << 3 | 5) + "abcd", {});
  ScannedRequest request;
  ASSERT_TRUE(Scan(split, &request).ok());
  EXPECT_EQ(request.n_prompts, 0);
  EXPECT_TRUE(request.prompts.empty());
  EXPECT_TRUE(request.request_id.empty());
}

TEST(WireScan, BrokenMessagesAreRefusedWithTheirPlace) {
  const std::pair<std::string, const char*> cases[] = {
      {"\xff", "a tag does not end"},
      {std::string(11, '\xff'), "a tag does not end"},
      {std::string(1, '\0'), "an impossible field number"},
      {Varint(uint64_t{1} << 32 << 3 | 0) + "1", "an impossible field number"},
      {Varint(3 << 3 | 3), "an unknown wire type"},
      {Varint(3 << 3 | 4), "an unknown wire type"},
      {Varint(3 << 3 | 6), "an unknown wire type"},
      {Varint(3 << 3 | 7), "an unknown wire type"},
      {Varint(2 << 3) + "\xff", "a number does not end"},
      {Varint(3 << 3 | 2), "a length does not end"},
      {Varint(3 << 3 | 2) + "\x05" + "four", "a field ends beyond the message"},
      {Varint(3 << 3 | 2) + Varint(~uint64_t{0}), "a field ends beyond the message"},
      {Varint(9 << 3 | 1) + "1234567", "a field ends beyond the message"},
      {Varint(9 << 3 | 5) + "123", "a field ends beyond the message"},
  };
  for (const auto& [message, why] : cases) {
    const absl::Status status = Scan(message);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << testing::PrintToString(message);
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
    EXPECT_THAT(std::string(status.message()), HasSubstr(" at byte "));
  }
}

TEST(WireScan, NamesMustBeTextAndNotTooLong) {
  EXPECT_THAT(std::string(Scan(Text(1, "\xff")).message()), HasSubstr("request_id is not valid UTF-8"));
  EXPECT_THAT(std::string(Scan(Text(5, "\xc3")).message()), HasSubstr("model_name is not valid UTF-8"));
  EXPECT_TRUE(Scan(Text(1, std::string(64 << 10, 'x'))).ok());
  EXPECT_THAT(std::string(Scan(Text(1, std::string((64 << 10) + 1, 'x'))).message()),
              HasSubstr("at most 65536 are allowed"));
}

TEST(WireScan, MorePromptsThanTheQueueHoldsAreRefusedWhileCounting) {
  std::string message;
  for (int i = 0; i < 1000; ++i) message += Text(3, "");
  EXPECT_TRUE(Scan(message).ok());
  const absl::Status status = Scan(message + Text(3, ""));
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 1000 prompts"));
}

TEST(WireScan, EveryTruncationIsSound) {
  std::mt19937 random(1);
  const std::string message = Message();
  for (size_t length = 0; length <= message.size(); ++length) {
    for (int i = 0; i < 20; ++i) ExpectSound(message.substr(0, length), random);
  }
}

TEST(WireScan, EverySingleBitFlipIsSound) {
  std::mt19937 random(2);
  const std::string message = Message();
  for (size_t bit = 0; bit < 8 * message.size(); ++bit) {
    std::string flipped = message;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    for (int i = 0; i < 5; ++i) ExpectSound(flipped, random);
  }
}

TEST(WireScan, RandomDamageIsSound) {
  std::mt19937 random(3);
  const std::string message = Message();
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = message;
    for (uint32_t i = 0; i <= random() % 5; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    ExpectSound(bytes, random);
  }
}

TEST(WireScan, RandomBytesAreSound) {
  std::mt19937 random(4);
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 2 == 0 ? random() : random() % 48);
    ExpectSound(bytes, random);
  }
}

}  // namespace
}  // namespace zerohop

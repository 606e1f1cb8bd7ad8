// The scan against protobuf's own parser and serializer, which are the contract.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "broker/front/wire_scan.h"
#include "inference.pb.h"
#include "tests/support/split_body.h"

namespace zerohop {
namespace {

using arctic_inference::EncodeRequest;

std::string RandomText(std::mt19937& random, size_t most) {
  static const std::vector<std::string> kCharacters = {
      "a", "Z", " ", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80"};
  std::string text;
  for (size_t i = random() % (most + 1); i > 0; --i) text += kCharacters[random() % kCharacters.size()];
  return text;
}

EncodeRequest RandomRequest(std::mt19937& random) {
  EncodeRequest request;
  if (random() % 4 != 0) request.set_request_id(RandomText(random, 40));
  if (random() % 4 != 0) request.set_n_prompts(static_cast<int32_t>(random()));
  if (random() % 4 != 0) request.set_model_name(RandomText(random, 40));
  if (random() % 4 != 0) request.set_priority(static_cast<int32_t>(random()));
  if (random() % 4 != 0) {
    for (uint32_t i = random() % 10; i > 0; --i) request.add_prompts(RandomText(random, 300));
  }
  if (random() % 4 == 0) {
    for (uint32_t i = random() % 10; i > 0; --i) request.add_token_id_bytes_i32(RandomText(random, 300));
  }
  return request;
}

// A valid message whose fields come in any order: messages that are put side by side merge.
std::string InAnyOrder(std::mt19937& random) {
  std::string message;
  for (uint32_t i = random() % 4; i > 0; --i) message += RandomRequest(random).SerializeAsString();
  return message;
}

void ExpectSame(const EncodeRequest& expected, const RequestBody& body, const ScannedRequest& scanned) {
  EXPECT_EQ(scanned.request_id, expected.request_id());
  EXPECT_EQ(scanned.model_name, expected.model_name());
  EXPECT_EQ(scanned.n_prompts, expected.n_prompts());
  EXPECT_EQ(scanned.priority, expected.priority());
  const auto& field =
      expected.token_id_bytes_i32_size() > 0 ? expected.token_id_bytes_i32() : expected.prompts();
  EXPECT_EQ(scanned.kind == PromptKind::kTokenIds, expected.token_id_bytes_i32_size() > 0);
  ASSERT_EQ(scanned.prompts.size(), static_cast<size_t>(field.size()));
  for (int i = 0; i < field.size(); ++i) EXPECT_EQ(TextOf(body, scanned.prompts[i]), field[i]);
}

TEST(WireProto, ScanFindsWhatProtobufFindsInEveryOrderAndSplit) {
  std::mt19937 random(21);
  for (int round = 0; round < 5'000; ++round) {
    const std::string message = InAnyOrder(random);
    EncodeRequest expected;
    ASSERT_TRUE(expected.ParseFromString(message));
    const SplitBody split = RandomlySplit(message, random);
    ScannedRequest scanned;
    const absl::Status status = ScanEncodeRequest(split.body, 1000, &scanned);
    ASSERT_TRUE(status.ok()) << status;
    ExpectSame(expected, split.body, scanned);
  }
}

// Where both accept damaged bytes, they found the same. The scan may refuse more (groups) or less (text that
// nobody asked for), never differ.
TEST(WireProto, ScanNeverDisagreesWithProtobufOnDamagedMessages) {
  std::mt19937 random(22);
  int both = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::string message = RandomRequest(random).SerializeAsString();
    if (message.empty()) continue;
    for (uint32_t i = 0; i <= random() % 3; ++i) {
      message[random() % std::min<size_t>(message.size(), 60)] = static_cast<char>(random());
    }
    if (random() % 2 == 0) message.resize(random() % (message.size() + 1));
    const SplitBody split = RandomlySplit(message, random);
    ScannedRequest scanned;
    EncodeRequest expected;
    if (!ScanEncodeRequest(split.body, 1000, &scanned).ok() || !expected.ParseFromString(message)) continue;
    ++both;
    ExpectSame(expected, split.body, scanned);
    ASSERT_FALSE(HasFailure()) << testing::PrintToString(message);
  }
  EXPECT_GT(both, 1000) << "the comparison took place";
}

}  // namespace
}  // namespace zerohop

#include "shm/consumer/consumer_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "shm/row.h"
#include "shm/utf8.h"
#include "tests/support/damaged.h"
#include "tests/support/must.h"

namespace zerohop {
namespace {

using nlohmann::json;
using testing::AnyOf;
using testing::HasSubstr;

template <typename T>
T RoundTrip(const T& message) {
  return std::get<T>(Must(DecodeConsumerMessage(EncodeConsumerMessage(message))));
}

std::string Refusal(const std::string& bytes) {
  const absl::Status status = DecodeConsumerMessage(bytes).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << bytes.substr(0, 200);
  EXPECT_TRUE(IsUtf8(std::string(status.message())));
  return std::string(status.message());
}

ArenaHandle SomeArena() {
  ArenaHandle arena{"GPU-1", {}, uint64_t{1} << 40, ~uint64_t{0}};
  for (size_t i = 0; i < sizeof arena.ipc.reserved; ++i) arena.ipc.reserved[i] = static_cast<char>(255 - i);
  return arena;
}

// One of each kind, as JSON.
std::vector<json> EveryKind() {
  std::vector<json> kinds;
  for (const ConsumerMessage& message : std::vector<ConsumerMessage>{
           ConsumerHello{1, "GPU-1"}, ConsumerOffer{SomeArena()}, ConsumerRefused{"no"},
           EmbedTexts{1, {"a", "b"}, 5}, RowsLeased{1, 2, 512, 3, 384},
           NotEmbedded{1, absl::UnavailableError("gone")}, ReturnLease{4}, ArenaClosed{}}) {
    kinds.push_back(json::parse(EncodeConsumerMessage(message)));
  }
  return kinds;
}

TEST(ConsumerMessage, EveryKindSurvivesTheWay) {
  const ConsumerHello hello = RoundTrip(ConsumerHello{~uint32_t{0}, "GPU-6c1f"});
  EXPECT_EQ(hello.protocol, ~uint32_t{0});
  EXPECT_EQ(hello.device, "GPU-6c1f");

  const ArenaHandle arena = RoundTrip(ConsumerOffer{SomeArena()}).arena;
  EXPECT_EQ(arena.device, "GPU-1");
  const ArenaHandle sent = SomeArena();
  EXPECT_EQ(std::memcmp(&arena.ipc, &sent.ipc, sizeof arena.ipc), 0);
  EXPECT_EQ(arena.bytes, uint64_t{1} << 40);
  EXPECT_EQ(arena.proof, ~uint64_t{0});

  EXPECT_EQ(RoundTrip(ConsumerRefused{"another device"}).reason, "another device");

  const EmbedTexts embed = RoundTrip(EmbedTexts{~uint64_t{0}, {"a", "", "b"}, int64_t{1} << 62});
  EXPECT_EQ(embed.id, ~uint64_t{0});
  EXPECT_THAT(embed.texts, testing::ElementsAre("a", "", "b"));
  EXPECT_EQ(embed.timeout_ns, int64_t{1} << 62);
  EXPECT_TRUE(RoundTrip(EmbedTexts{}).texts.empty()) << "what to make of it is the broker's to say";

  const RowsLeased leased =
      RoundTrip(RowsLeased{1, ~uint64_t{0}, uint64_t{1} << 40, uint64_t{1} << 33, 1024});
  EXPECT_EQ(leased.id, 1u);
  EXPECT_EQ(leased.lease, ~uint64_t{0});
  EXPECT_EQ(leased.offset, uint64_t{1} << 40);
  EXPECT_EQ(leased.rows, uint64_t{1} << 33);
  EXPECT_EQ(leased.dim, 1024u);

  EXPECT_EQ(RoundTrip(ReturnLease{uint64_t{1} << 63}).lease, uint64_t{1} << 63);
  (void)RoundTrip(ArenaClosed{});
}

TEST(ConsumerMessage, EveryCodeOfAFailureSurvivesTheWay) {
  for (int code = 1; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    const absl::Status why(static_cast<absl::StatusCode>(code), "the reason");
    const NotEmbedded back = RoundTrip(NotEmbedded{9, why});
    EXPECT_EQ(back.id, 9u);
    EXPECT_EQ(back.why, why);
  }
}

TEST(ConsumerMessage, AFailureMustHaveACodeThatIsOne) {
  json message = json::parse(EncodeConsumerMessage(NotEmbedded{1, absl::InternalError("why")}));
  for (const char* code : {"OK", "", "internal", "DANCE", "13"}) {
    message["code"] = code;
    EXPECT_THAT(Refusal(message.dump()), HasSubstr("unknown code")) << code;
  }
  message["code"] = 13;
  (void)Refusal(message.dump());
}

TEST(ConsumerMessage, TextsOfAnyUtf8ArriveAsTheyWere) {
  const std::vector<std::string> texts = {
      std::string("a\0b\0", 4),   "\U0001f600\u00e9\u4e2d", "\"\\/\b\f\n\r\t\x1b\x7f",
      "\ufeff\uffff\U0010ffff",   "\u2028\u0085",           "\xc2\x80",
      std::string(10'000, '\x01')};
  for (const std::string& text : texts) ASSERT_TRUE(IsUtf8(text));
  EXPECT_EQ(RoundTrip(EmbedTexts{1, texts, 0}).texts, texts);
}

TEST(ConsumerMessage, TextsThatAreNotUtf8AreRefused) {
  for (const char* text : {"\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80"}) {
    EXPECT_THAT(Refusal(std::string(R"({"type":"embed","id":1,"timeout_ns":0,"texts":[")") + text + "\"]}"),
                HasSubstr("bad message"));
  }
  // Half of a pair of surrogates, escaped.
  (void)Refusal(R"({"type":"embed","id":1,"timeout_ns":0,"texts":["\ud83d"]})");
}

TEST(ConsumerMessage, TextsMustBeAListOfStrings) {
  json message = json::parse(EncodeConsumerMessage(EmbedTexts{1, {"a"}, 0}));
  for (const json& texts : std::vector<json>{"a",
                                             json::object(),
                                             {{"a", "b"}},
                                             nullptr,
                                             1,
                                             json::array({"a", 1}),
                                             json::array({nullptr}),
                                             json::array({json::array({"a"})})}) {
    message["texts"] = texts;
    (void)Refusal(message.dump());
  }
}

TEST(ConsumerMessage, EveryFieldMustBeThere) {
  for (const json& kind : EveryKind()) {
    ASSERT_TRUE(DecodeConsumerMessage(kind.dump()).ok()) << kind;
    for (const auto& [name, value] : kind.items()) {
      json message = kind;
      message.erase(name);
      EXPECT_THAT(Refusal(message.dump()), HasSubstr(name)) << kind;
    }
  }
}

TEST(ConsumerMessage, NumbersMustBeWholeAndFit) {
  const std::vector<json> never = {1.5, "384", nullptr, json::array(), true};
  for (const json& kind : EveryKind()) {
    for (const auto& [name, value] : kind.items()) {
      if (!value.is_number()) continue;
      json message = kind;
      for (const json& wrong : never) {
        message[name] = wrong;
        EXPECT_THAT(Refusal(message.dump()), HasSubstr(name)) << message;
      }
      message[name] = name == "timeout_ns" ? json(~uint64_t{0}) : json(-1);
      EXPECT_THAT(Refusal(message.dump()), HasSubstr("out of range")) << message;
    }
  }
  (void)Refusal(R"({"type":"return","lease":18446744073709551616})");
  (void)Refusal(R"({"type":"hello","protocol":4294967296,"device":"GPU-1"})");
}

TEST(ConsumerMessage, DimensionMustBeWhatARowCanHold) {
  json message = json::parse(EncodeConsumerMessage(RowsLeased{1, 2, 0, 1, 1}));
  for (uint32_t dim : {0u, kMaxDim + 1, ~0u}) {
    message["dim"] = dim;
    EXPECT_THAT(Refusal(message.dump()), HasSubstr("dim")) << dim;
  }
  message["dim"] = kMaxDim;
  EXPECT_TRUE(DecodeConsumerMessage(message.dump()).ok());
}

TEST(ConsumerMessage, AnArenaMustHaveAHandle) {
  const json offer = json::parse(EncodeConsumerMessage(ConsumerOffer{SomeArena()}));
  for (const auto& [name, value] : offer["arena"].items()) {
    json message = offer;
    message["arena"].erase(name);
    EXPECT_THAT(Refusal(message.dump()), HasSubstr(name));
  }
  for (const std::string& ipc : {std::string(), std::string(126, '0'), std::string(130, '0'),
                                 std::string(128, 'F'), "xy" + std::string(126, '0')}) {
    json message = offer;
    message["arena"]["ipc"] = ipc;
    EXPECT_THAT(Refusal(message.dump()), HasSubstr("no memory handle"));
  }
  for (const json& arena : std::vector<json>{nullptr, "GPU-1", json::array(), 1}) {
    json message = offer;
    message["arena"] = arena;
    (void)Refusal(message.dump());
  }
}

TEST(ConsumerMessage, WrongTypesAreSaidToBeWrong) {
  for (const char* message : {"", "[", "null", "[]", "1", R"("hello")", R"({})", R"({"type":1})",
                              R"({"type":null})", "\xff", "{} {}"}) {
    EXPECT_THAT(Refusal(message), HasSubstr("bad message")) << message;
  }
  EXPECT_THAT(Refusal(R"({"type":"dance"})"), HasSubstr("unknown type 'dance'"));
  EXPECT_THAT(Refusal(R"({"type":"HELLO","protocol":1,"device":""})"), HasSubstr("unknown type"));
}

TEST(ConsumerMessage, ASentenceOfARefusalIsPrintableAndShort) {
  const json message = {{"type", "\x1b[2J" + std::string(10'000, '\xc2') + "\x85"}};
  const std::string why = Refusal(message.dump(-1, ' ', false, json::error_handler_t::replace));
  EXPECT_LT(why.size(), 400u);
  EXPECT_EQ(why.find('\x1b'), why.npos);
}

TEST(ConsumerMessage, MessageBeyondTheLimitIsRefused) {
  const EmbedTexts none{1, {""}, 0};
  const size_t room = kMaxConsumerMessageBytes - EncodeConsumerMessage(none).size();
  EXPECT_EQ(RoundTrip(EmbedTexts{1, {std::string(room, 'x')}, 0}).texts[0].size(), room);
  const std::string more = EncodeConsumerMessage(EmbedTexts{1, {std::string(room + 1, 'x')}, 0});
  EXPECT_THAT(Refusal(more), HasSubstr(std::to_string(kMaxConsumerMessageBytes)));
}

TEST(ConsumerMessage, WhatPeopleReadFitsAPacketWhateverItIs) {
  for (const std::string& text :
       {std::string(1 << 20, '\x1b'), std::string(1 << 20, '\xff'), std::string(1 << 20, '"')}) {
    ArenaHandle arena = SomeArena();
    arena.device = text;
    for (const ConsumerMessage& message :
         std::vector<ConsumerMessage>{ConsumerHello{1, text}, ConsumerOffer{arena}, ConsumerRefused{text},
                                      NotEmbedded{1, absl::UnknownError(text)}}) {
      const std::string encoded = EncodeConsumerMessage(message);
      EXPECT_LE(encoded.size(), kMaxConsumerMessageBytes);
      EXPECT_TRUE(IsUtf8(encoded));
      EXPECT_TRUE(DecodeConsumerMessage(encoded).ok());
    }
  }
  EXPECT_EQ(RoundTrip(ConsumerRefused{"bad \xff byte\n"}).reason, "bad ? byte?");
}

TEST(ConsumerMessage, DeepNestingDoesNotEndTheProcess) {
  (void)Refusal(std::string(kMaxConsumerMessageBytes, '['));
  std::string objects;
  while (objects.size() + 5 < kMaxConsumerMessageBytes) objects += R"({"a":)";
  (void)Refusal(objects);
  std::string texts = R"({"type":"embed","id":1,"timeout_ns":0,"texts":)" + std::string(80'000, '[') +
                      std::string(80'000, ']') + "}";
  (void)Refusal(texts);
}

TEST(ConsumerMessage, DecodeSurvivesRandomBytesAndRandomDamage) {
  std::mt19937 random(3);
  for (const json& kind : EveryKind()) {
    const std::string good = kind.dump();
    for (int round = 0; round < 4'000; ++round) {
      const std::string bytes = Damaged(good, round, random);
      const absl::Status status = DecodeConsumerMessage(bytes).status();
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << bytes;
    }
  }
}

}  // namespace
}  // namespace zerohop

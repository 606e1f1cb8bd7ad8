#include "shm/control_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "shm/row.h"
#include "tests/support/damaged.h"
#include "tests/support/must.h"

namespace zerohop {
namespace {

using nlohmann::json;
using testing::HasSubstr;

template <typename T>
T RoundTrip(const T& message) {
  return std::get<T>(Must(Decode(Encode(message))));
}

json ReadyJson() {
  return {{"type", "ready"},
          {"info",
           {{"dim", 384},
            {"max_tokens", 512},
            {"vocabulary", 30522},
            {"batch_tokens", 4096},
            {"batch_prompts", 64},
            {"engine", "echo"},
            {"dtype", "float32"},
            {"task", "embed"},
            {"device", ""}}},
          {"return_path", "host"},
          {"return_reason", ""}};
}

TEST(ControlMessage, EveryKindSurvivesTheWay) {
  EXPECT_EQ(RoundTrip(Hello{1, 4711}).pid, 4711);
  const Offer offer =
      RoundTrip(Offer{3, ~uint64_t{0}, uint64_t{1} << 63, 50'000, 100'000'000, 60'000'000'000});
  EXPECT_EQ(offer.replica, 3u);
  EXPECT_EQ(offer.epoch, ~uint64_t{0}) << "an epoch is 64 random bits";
  EXPECT_EQ(offer.generation, uint64_t{1} << 63);
  EXPECT_EQ(offer.spin_ns, 50'000);
  EXPECT_EQ(offer.beat_ns, 100'000'000);
  EXPECT_EQ(offer.step_ns, 60'000'000'000);
  EXPECT_EQ(RoundTrip(Failed{"no such file"}).reason, "no such file");
  (void)RoundTrip(Drain{});
  const EngineInfo info =
      RoundTrip(Ready{{384, 512, 30522, 4096, 64, "openvino 1", "bfloat16", "embed"}}).info;
  EXPECT_EQ(info.dim, 384u);
  EXPECT_EQ(info.max_tokens, 512u);
  EXPECT_EQ(info.vocabulary, 30522u);
  EXPECT_EQ(info.batch_tokens, 4096u);
  EXPECT_EQ(info.batch_prompts, 64u);
  EXPECT_EQ(info.engine, "openvino 1");
  EXPECT_EQ(info.dtype, "bfloat16");
  EXPECT_EQ(info.task, "embed");
}

TEST(ControlMessage, ADeviceSurvivesTheWay) {
  EXPECT_FALSE(RoundTrip(Offer{}).device);
  DeviceOffer device;
  device.arena = {"GPU-1", {}, uint64_t{1} << 40, ~uint64_t{0}};
  for (size_t i = 0; i < sizeof device.arena.ipc.reserved; ++i) {
    device.arena.ipc.reserved[i] = static_cast<char>(255 - i);
  }
  device.required = true;
  Offer offer;
  offer.device = device;
  const Offer got = RoundTrip(offer);
  ASSERT_TRUE(got.device);
  EXPECT_EQ(got.device->arena.device, "GPU-1");
  EXPECT_EQ(std::memcmp(&got.device->arena.ipc, &device.arena.ipc, sizeof device.arena.ipc), 0);
  EXPECT_EQ(got.device->arena.bytes, uint64_t{1} << 40);
  EXPECT_EQ(got.device->arena.proof, ~uint64_t{0});
  EXPECT_TRUE(got.device->required);

  Ready ready{{384, 512, 30522, 4096, 64, "engine", "float32", "embed", "GPU-1"},
              {ReturnPath::kCudaIpc, "a reason"}};
  const Ready back = RoundTrip(ready);
  EXPECT_EQ(back.info.device, "GPU-1");
  EXPECT_EQ(back.taken.path, ReturnPath::kCudaIpc);
  EXPECT_EQ(back.taken.reason, "a reason");
}

TEST(ControlMessage, AHandleMustBeOneAndAPathKnown) {
  Offer offer;
  offer.device = DeviceOffer{};
  json message = json::parse(Encode(offer));
  for (const char* ipc : {"", "00", "7F", "xy"}) {
    std::string& hex = message["device"]["ipc"].get_ref<std::string&>();
    hex.replace(0, *ipc == '\0' ? hex.size() : 2, ipc);
    EXPECT_EQ(Decode(message.dump()).ok(), std::string(ipc) == "00") << ipc;
    hex = std::string(128, '0');
  }
  json ready = ReadyJson();
  ready["return_path"] = "carrier_pigeon";
  EXPECT_THAT(std::string(Decode(ready.dump()).status().message()), HasSubstr("carrier_pigeon"));
}

TEST(ControlMessage, EveryFieldMustBeThere) {
  ASSERT_TRUE(Decode(ReadyJson().dump()).ok());
  const json ready = ReadyJson();
  for (const auto& [name, value] : ready["info"].items()) {
    json message = ready;
    message["info"].erase(name);
    const auto decoded = Decode(message.dump());
    EXPECT_TRUE(absl::IsInvalidArgument(decoded.status())) << name;
    EXPECT_THAT(std::string(decoded.status().message()), HasSubstr(name));
  }
  for (const char* name : {"info", "return_path", "return_reason"}) {
    json message = ready;
    message.erase(name);
    EXPECT_TRUE(absl::IsInvalidArgument(Decode(message.dump()).status())) << name;
  }
  for (const char* message :
       {R"({})", R"({"type":"hello"})", R"({"type":"hello","protocol":1})", R"({"type":"failed"})",
        R"({"type":"ready"})", R"({"type":"offer","replica":0,"epoch":1,"generation":1,"spin_ns":0})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Decode(message).status())) << message;
  }
}

TEST(ControlMessage, NumbersMustBeWholeAndFit) {
  for (const json& value :
       std::vector<json>{-1, 1.5, "384", nullptr, json::array(), uint64_t{1} << 32, true}) {
    json message = ReadyJson();
    message["info"]["max_tokens"] = value;
    EXPECT_TRUE(absl::IsInvalidArgument(Decode(message.dump()).status())) << message.dump();
  }
  EXPECT_FALSE(Decode(R"({"type":"hello","protocol":1,"pid":18446744073709551615})").ok());
  EXPECT_FALSE(Decode(R"({"type":"hello","protocol":1,"pid":1e400})").ok());
  EXPECT_TRUE(Decode(R"({"type":"hello","protocol":1,"pid":-1})").ok());
}

TEST(ControlMessage, DimensionMustBeWhatARowCanHold) {
  json message = ReadyJson();
  for (uint32_t dim : {0u, kMaxDim + 1, ~0u}) {
    message["info"]["dim"] = dim;
    EXPECT_FALSE(Decode(message.dump()).ok()) << dim;
  }
  message["info"]["dim"] = kMaxDim;
  EXPECT_TRUE(Decode(message.dump()).ok());
}

TEST(ControlMessage, WrongTypesAreSaidToBeWrong) {
  for (const char* message :
       {"", "[", "null", "[]", "1", R"("hello")", R"({"type":1})", R"({"type":"dance"})",
        R"({"type":"ready","info":[]})", R"({"type":"failed","reason":3})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Decode(message).status())) << message;
  }
}

TEST(ControlMessage, MessageBeyondTheLimitIsRefused) {
  const json message = {{"type", "failed"}, {"reason", std::string(kMaxControlMessageBytes, 'x')}};
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(message.dump()).status()));
}

TEST(ControlMessage, DeepNestingDoesNotEndTheProcess) {
  EXPECT_FALSE(Decode(std::string(kMaxControlMessageBytes, '[')).ok());
  std::string objects;
  while (objects.size() + 5 < kMaxControlMessageBytes) objects += R"({"a":)";
  EXPECT_FALSE(Decode(objects).ok());
}

TEST(ControlMessage, DecodeSurvivesRandomBytesAndRandomDamage) {
  std::mt19937 random(3);
  const std::string good = Encode(Ready{{384, 512, 30522, 4096, 64, "engine", "float32", "embed", "GPU-1"}});
  for (int round = 0; round < 20'000; ++round) {
    const std::string bytes = Damaged(good, round, random);
    const auto decoded = Decode(bytes);
    EXPECT_TRUE(decoded.ok() || absl::IsInvalidArgument(decoded.status()));
  }
}

TEST(ControlMessage, ReasonOfAnyBytesArrivesAsText) {
  EXPECT_EQ(RoundTrip(Failed{"bad \xff byte"}).reason, "bad ? byte");
  EXPECT_EQ(RoundTrip(Failed{std::string(2, '\0')}).reason.size(), 2u);
  EXPECT_LE(RoundTrip(Failed{std::string(1 << 20, 'x')}).reason.size(), size_t{4} << 10);
}

// The reason is cut, but not by what it costs in JSON: a control character takes six bytes there.
TEST(ControlMessage, ReasonOfControlCharactersStillFitsAMessage) {
  const std::string encoded = Encode(Failed{std::string(8192, '\x1b')});
  EXPECT_LE(encoded.size(), kMaxControlMessageBytes);
  EXPECT_TRUE(Decode(encoded).ok());
}

TEST(ControlMessage, LongEngineNamesStillFitAMessage) {
  const std::string encoded = Encode(Ready{{384, 1, 1, 1, 1, std::string(20'000, 'e'), "float32", "embed"}});
  EXPECT_LE(encoded.size(), kMaxControlMessageBytes);
  EXPECT_TRUE(Decode(encoded).ok());
}

}  // namespace
}  // namespace zerohop

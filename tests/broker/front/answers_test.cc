// Replies as gRPC gets them: what a client reads, whose memory it is, and how long it is held.

#include "broker/front/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "inference.pb.h"
#include "tests/support/known_rows.h"
#include "tests/support/lane_pair.h"

namespace zerohop {
namespace {

using arctic_inference::EncodeResponse;
using testing::ElementsAre;

constexpr uint32_t kDim = 16;
constexpr size_t kFloatBytes = kDim * sizeof(float);

// Rows on the heap, and where they lie there.
struct Rows {
  explicit Rows(const std::vector<std::string>& prompts) {
    const std::string known = KnownRows(prompts, kDim);
    auto heap = std::make_unique<std::byte[]>(known.size());
    std::memcpy(heap.get(), known.data(), known.size());
    bytes = {heap.get(), known.size()};
    block = RowBlock(std::move(heap), known.size());
  }
  std::span<std::byte> bytes;
  RowBlock block;
};

Answer AnswerOf(RowBlock first) {
  Answer answer{Outcome::kEmbedded, "", kDim, {}};
  answer.rows.push_back(std::move(first));
  return answer;
}

std::vector<grpc::Slice> SlicesOf(const Reply& reply) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(reply.bytes().Dump(&slices).ok());
  return slices;
}

std::string BytesOf(const Reply& reply) {
  std::string bytes;
  for (const grpc::Slice& slice : SlicesOf(reply)) bytes.append(slice.begin(), slice.end());
  return bytes;
}

EncodeResponse Parse(const Reply& reply) {
  EncodeResponse response;
  EXPECT_TRUE(response.ParseFromString(BytesOf(reply)));
  return response;
}

std::string Floats(const std::string& prompt) {
  return KnownRows(std::vector<std::string>{prompt}, kDim);
}

TEST(Answers, ReadAsTheContractSays) {
  Answer answer = AnswerOf(Rows({"a", "b"}).block);
  answer.rows.push_back(Rows({"c"}).block);
  const EncodeResponse response = Parse(FrameEmbeddings("id", 3, std::move(answer)));
  EXPECT_EQ(response.request_id(), "id");
  EXPECT_EQ(response.n_prompts(), 3);
  EXPECT_EQ(response.embedding_dim(), static_cast<int32_t>(kDim));
  EXPECT_EQ(response.error(), "");
  EXPECT_THAT(response.embedding_bytes_fp32(), ElementsAre(Floats("a"), Floats("b"), Floats("c")));
}

TEST(Answers, BytesAreAHeaderThenFrameAndFloatsOfEachRow) {
  Answer answer = AnswerOf(Rows({"a", "b"}).block);
  answer.rows.push_back(Rows({"c"}).block);
  const std::string header("\x0a\x02id\x10\x03\x18\x10", 8);
  const std::string frame("\x22\xc0\x80\x00", 4);
  EXPECT_EQ(BytesOf(FrameEmbeddings("id", 3, std::move(answer))),
            header + frame + Floats("a") + frame + Floats("b") + frame + Floats("c"));
}

TEST(Answers, FloatsAreSentFromWhereTheEngineWroteThem) {
  Rows rows({"a", "b"});
  const auto* first = reinterpret_cast<const uint8_t*>(rows.bytes.data());
  const auto slices = SlicesOf(FrameEmbeddings("id", 2, AnswerOf(std::move(rows.block))));
  ASSERT_EQ(slices.size(), 4u);  // header, floats, frame, floats
  EXPECT_EQ(slices[1].begin(), first);
  EXPECT_EQ(slices[1].size(), kFloatBytes);
  EXPECT_EQ(slices[3].begin(), first + RowBytes(kDim));
  EXPECT_EQ(slices[3].size(), kFloatBytes);
}

TEST(Answers, RowsThatChangeAfterwardsDoNotDamageTheMessage) {
  Rows rows({"a", "b", "c"});
  const auto bytes = rows.bytes;
  const Reply reply = FrameEmbeddings("id", 3, AnswerOf(std::move(rows.block)));
  std::memset(bytes.data(), 0xff, bytes.size());
  const std::string scribbled(kFloatBytes, '\xff');
  EXPECT_THAT(Parse(reply).embedding_bytes_fp32(), ElementsAre(scribbled, scribbled, scribbled));
}

TEST(Answers, ARegionIsHeldUntilTheLastOfItsSlicesGoes) {
  const LanePair lane;
  const auto memory = std::make_shared<LaneMemory>(lane.broker, lane.bell.ringer());
  uint64_t released = 0;
  std::vector<grpc::Slice> slices;
  {
    const Reply reply = FrameEmbeddings("id", 2, AnswerOf(RowBlock(memory, 64, 2 * RowBytes(kDim))));
    slices = SlicesOf(reply);
  }
  slices.erase(slices.begin(), slices.end() - 1);
  EXPECT_FALSE(memory->TakeReleased(&released));
  slices.clear();
  EXPECT_TRUE(memory->TakeReleased(&released));
  EXPECT_EQ(released, 64u);
}

TEST(Answers, GrpcTakesTheSlicesAndCopiesNone) {
  const Reply reply = FrameEmbeddings("id", 1, AnswerOf(Rows({"a"}).block));
  const auto* floats = SlicesOf(reply).back().begin();
  grpc::ByteBuffer sent;
  bool sent_is_own = false;
  ASSERT_TRUE(grpc::SerializationTraits<Reply>::Serialize(reply, &sent, &sent_is_own).ok());
  EXPECT_TRUE(sent_is_own);
  EXPECT_FALSE(reply.bytes().Valid());
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(sent.Dump(&slices).ok());
  EXPECT_EQ(slices.back().begin(), floats);
}

TEST(Answers, AnErrorOfTheContractIsToldInTheMessage) {
  const EncodeResponse response = Parse(FrameError("id", "Expected 1 prompts, got 2"));
  EXPECT_EQ(response.request_id(), "id");
  EXPECT_EQ(response.error(), "Expected 1 prompts, got 2");
  EXPECT_EQ(response.embedding_bytes_fp32_size(), 0);
}

}  // namespace
}  // namespace zerohop

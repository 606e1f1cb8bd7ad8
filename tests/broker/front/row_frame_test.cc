// The frame of a row against protobuf's own reader and writer of the wire format.

#include "broker/front/row_frame.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "inference.pb.h"
#include "tests/support/known_rows.h"

namespace zerohop {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// Tag and length of field 4 as protobuf writes them.
std::string ProtobufFrame(uint32_t length) {
  std::string bytes;
  StringOutputStream stream(&bytes);
  CodedOutputStream out(&stream);
  out.WriteTag(4u << 3 | google::protobuf::internal::WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  out.WriteVarint32(length);
  out.Trim();
  return bytes;
}

TEST(RowFrame, ProtobufReadsEach) {
  for (uint32_t dim = 1; dim <= kMaxDim; dim = dim < 5000 ? dim + 1 : dim + 997) {
    const auto frame = RowFrame(dim);
    ArrayInputStream stream(frame.data(), frame.size());
    CodedInputStream in(&stream);
    uint32_t length = 0;
    ASSERT_EQ(in.ReadTag(), 4u << 3 | 2);
    ASSERT_TRUE(in.ReadVarint32(&length));
    ASSERT_EQ(length, dim * sizeof(float));
    ASSERT_EQ(in.CurrentPosition(), static_cast<int>(kRowFrameBytes)) << "the floats follow";
  }
}

TEST(RowFrame, IsWhatProtobufWritesWhereThreeBytesAreTheShortest) {
  for (uint32_t dim : {4096u, 5000u, 8192u, 100'000u, kMaxDim}) {
    const auto frame = RowFrame(dim);
    EXPECT_EQ(std::string(frame.begin(), frame.end()), ProtobufFrame(dim * sizeof(float))) << dim;
  }
}

TEST(RowFrame, LargestDimensionIsWhatThreeBytesCanSay) {
  EXPECT_LT(uint64_t{kMaxDim} * sizeof(float), 1u << 21);
  EXPECT_GE((uint64_t{kMaxDim} + 1) * sizeof(float), 1u << 21);
}

TEST(RowFrame, FramedRowsAreTheBodyOfAnEncodeResponse) {
  const std::vector<std::string> prompts = {"one", "two", "three"};
  for (uint32_t dim : {1u, 8u, 384u, 5000u}) {
    std::string message;
    for (const std::string& prompt : prompts) {
      const auto frame = RowFrame(dim);
      message.append(frame.begin(), frame.end());
      message += KnownRows(std::vector<std::string>{prompt}, dim);
    }
    arctic_inference::EncodeResponse response;
    ASSERT_TRUE(response.ParseFromString(message));
    ASSERT_EQ(response.embedding_bytes_fp32_size(), 3);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(response.embedding_bytes_fp32(i), KnownRows(std::vector<std::string>{prompts[i]}, dim));
    }
  }
}

}  // namespace
}  // namespace zerohop

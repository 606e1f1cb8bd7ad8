// A row against protobuf's own reader and writer of the wire format.

#include "shm/row.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace zerohop {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// Tag and length of field 4 as protobuf writes them.
std::string ProtobufHeader(uint32_t length) {
  std::string bytes;
  StringOutputStream stream(&bytes);
  CodedOutputStream out(&stream);
  out.WriteTag(4u << 3 | google::protobuf::internal::WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  out.WriteVarint32(length);
  out.Trim();
  return bytes;
}

TEST(Row, ProtobufReadsEveryHeader) {
  for (uint32_t dim = 1; dim <= kMaxDim; dim = dim < 5000 ? dim + 1 : dim + 997) {
    const auto header = RowHeader(dim);
    ArrayInputStream stream(header.data(), header.size());
    CodedInputStream in(&stream);
    uint32_t length = 0;
    ASSERT_EQ(in.ReadTag(), 4u << 3 | 2);
    ASSERT_TRUE(in.ReadVarint32(&length));
    ASSERT_EQ(length, dim * sizeof(float));
    ASSERT_EQ(in.CurrentPosition(), static_cast<int>(kRowHeaderBytes)) << "the floats follow";
  }
}

TEST(Row, HeaderIsWhatProtobufWritesWhereThreeBytesAreTheShortest) {
  for (uint32_t dim : {4096u, 5000u, 8192u, 100'000u, kMaxDim}) {
    const auto header = RowHeader(dim);
    EXPECT_EQ(std::string(header.begin(), header.end()), ProtobufHeader(dim * sizeof(float))) << dim;
  }
}

TEST(Row, LargestDimensionIsWhatThreeBytesCanSay) {
  EXPECT_LT(uint64_t{kMaxDim} * sizeof(float), 1u << 21);
  EXPECT_GE((uint64_t{kMaxDim} + 1) * sizeof(float), 1u << 21);
}

TEST(Row, FloatsAreAlignedAndHeaderIsFoundAgain) {
  alignas(float) std::byte row[kRowHeaderBytes + 3 * sizeof(float)] = {};
  EXPECT_FALSE(HasRowHeader(row, 3));
  float* const floats = BeginRow(row, 3);
  EXPECT_EQ(reinterpret_cast<std::byte*>(floats), row + kRowHeaderBytes);
  EXPECT_EQ(RowBytes(3), sizeof row);
  EXPECT_TRUE(HasRowHeader(row, 3));
  EXPECT_FALSE(HasRowHeader(row, 4));
}

}  // namespace
}  // namespace zerohop

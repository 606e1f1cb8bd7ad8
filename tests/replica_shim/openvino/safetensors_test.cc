// Any bytes give a result whose views lie inside them, or one sentence.

#include "replica_shim/engines/openvino/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>

namespace zerohop {
namespace {

std::string File(const std::string& header, size_t data_bytes, uint64_t claimed_length) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(claimed_length >> (8 * i)));
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file.push_back(static_cast<char>(i));
  return file;
}

std::string File(const std::string& header, size_t data_bytes) {
  return File(header, data_bytes, header.size());
}

// Parses a copy that ends where the allocation ends, so that a sanitizer sees any read beyond it.
absl::StatusOr<TensorMap> Parse(const std::string& file, std::unique_ptr<std::byte[]>* memory) {
  *memory = std::make_unique<std::byte[]>(file.size());
  std::copy_n(reinterpret_cast<const std::byte*>(file.data()), file.size(), memory->get());
  return ParseSafetensors({memory->get(), file.size()});
}

// Parses, reads every byte of every view, and returns the status.
absl::Status ParseAndRead(const std::string& file) {
  std::unique_ptr<std::byte[]> memory;
  const absl::StatusOr<TensorMap> tensors = Parse(file, &memory);
  if (!tensors.ok()) return tensors.status();
  unsigned sum = 0;
  for (const auto& [name, tensor] : *tensors) {
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  volatile unsigned kept = sum;
  (void)kept;
  return absl::OkStatus();
}

const char* const kGoodHeader = R"({"__metadata__":{"format":"pt"},)"
                                R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
                                R"("a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
                                R"("one":{"dtype":"I64","shape":[],"data_offsets":[28,36]}})";

TEST(Safetensors, WellFormedFileGivesItsTensors) {
  std::unique_ptr<std::byte[]> memory;
  const absl::StatusOr<TensorMap> tensors = Parse(File(kGoodHeader, 36), &memory);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3U);
  const TensorView& b = tensors->at("b");
  EXPECT_EQ(b.dtype, "F32");
  EXPECT_EQ(b.shape, (std::vector<size_t>{2, 3}));
  EXPECT_EQ(b.bytes.size(), 24U);
  EXPECT_EQ(static_cast<int>(b.bytes[0]), 4);
  EXPECT_TRUE(tensors->at("one").shape.empty());
}

TEST(Safetensors, FileCutAtAnyLengthIsAnError) {
  const std::string file = File(kGoodHeader, 36);
  for (size_t length = 0; length < file.size(); ++length) {
    EXPECT_FALSE(ParseAndRead(file.substr(0, length)).ok()) << length;
  }
}

TEST(Safetensors, FlippedBitsNeverReadOutside) {
  const std::string file = File(kGoodHeader, 36);
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string flipped = file;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips) {
      flipped[random() % flipped.size()] ^= static_cast<char>(1U << (random() % 8));
    }
    (void)ParseAndRead(flipped);
  }
}

TEST(Safetensors, RandomBytesNeverReadOutside) {
  std::mt19937 random(8);
  for (int round = 0; round < 5'000; ++round) {
    std::string text(random() % 100, ' ');
    for (char& byte : text) byte = static_cast<char>(random());
    (void)ParseAndRead(text);
    (void)ParseAndRead(File(text, random() % 8));
  }
}

TEST(Safetensors, HostileHeadersAreErrors) {
  const std::string tensor = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  EXPECT_FALSE(ParseAndRead(File("{}", 0, ~uint64_t{0})).ok());
  EXPECT_FALSE(ParseAndRead(File("{}", 0, ~uint64_t{0} - 7)).ok());
  EXPECT_FALSE(ParseAndRead(File("[]", 0)).ok());
  EXPECT_FALSE(ParseAndRead(File("not JSON", 0)).ok());
  EXPECT_FALSE(ParseAndRead(File("{\"a\":{" + tensor + "}", 4)).ok());
  EXPECT_FALSE(ParseAndRead(File(std::string(1'000'000, '['), 0)).ok());
  EXPECT_FALSE(ParseAndRead(File("{\"a\":" + std::string(1'000'000, '{'), 0)).ok());
  EXPECT_FALSE(ParseAndRead(File("{\"a\":{" + tensor + "},\"b\":{" + tensor + "}}", 4)).ok()) << "overlap";
  EXPECT_FALSE(ParseAndRead(File("{\"a\":{" + tensor + "}}", 8)).ok()) << "data without a tensor";
}

TEST(Safetensors, EntriesThatDoNotFitTheirBytesAreErrors) {
  const char* const entries[] = {
      R"("dtype":"F32","shape":[2],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":[1],"data_offsets":[4,0])",
      R"("dtype":"F32","shape":[1],"data_offsets":[0,5])",
      R"("dtype":"F32","shape":[1],"data_offsets":[1,5])",
      R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])",
      R"("dtype":"F32","shape":[1],"data_offsets":[0])",
      R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])",
      R"("dtype":"F32","shape":[1],"data_offsets":[0.0,4.0])",
      R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":1,"data_offsets":[0,4])",
      R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])",
      R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])",
      R"("dtype":"F31","shape":[1],"data_offsets":[0,4])",
      R"("dtype":7,"shape":[1],"data_offsets":[0,4])",
      R"("shape":[1],"data_offsets":[0,4])",
      R"("dtype":"F32","data_offsets":[0,4])",
      R"("dtype":"F32","shape":[1])",
  };
  for (const char* const entry : entries) {
    EXPECT_FALSE(ParseAndRead(File(std::string("{\"a\":{") + entry + "}}", 4)).ok()) << entry;
  }
  EXPECT_FALSE(ParseAndRead(File(R"({"a":[]})", 0)).ok());
  EXPECT_FALSE(ParseAndRead(File(R"({"a":null})", 0)).ok());
}

TEST(Safetensors, ErrorIsOnePrintableSentenceHoweverTheTensorIsNamed) {
  const std::string name(5000, '\x01');
  std::string escaped;
  for (size_t i = 0; i < name.size(); ++i) escaped += "\\u0001";
  const absl::Status status = ParseAndRead(File("{\"" + escaped + "\":{}}", 0));
  ASSERT_FALSE(status.ok());
  EXPECT_LT(status.message().size(), 1000U);
  EXPECT_EQ(status.message().find('\x01'), std::string::npos);
}

}  // namespace
}  // namespace zerohop

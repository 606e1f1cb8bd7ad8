// The safetensors header (replica_shim/engines/openvino/safetensors.h): any
// bytes are refused with one clean sentence, or give the tensors that the header
// names, and they tile the data.
//
// Input: u8 'h', u16 how many bytes of data, the header's text: the length before it is put right, so that
//        what the fuzzer changes in the text reaches the parser;
//        or any other first byte, then the whole file.

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "replica_shim/engines/openvino/safetensors.h"
#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/fuzz_input.h"

namespace zerohop {
namespace {

std::string MakeFile(FuzzInput& input) {
  if (input.Byte() != 'h') return std::string(input.Rest());
  const size_t data_bytes = input.Word();
  const std::string_view header = input.Rest();
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(uint64_t{header.size()} >> (8 * i)));
  return file.append(header).append(data_bytes, '\x55');
}

size_t BytesOfOne(const std::string& dtype) {
  static const std::map<std::string, size_t> kBytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
  FUZZ_CHECK(kBytes.count(dtype) == 1);
  return kBytes.at(dtype);
}

// shape x bytes of one value, without a wrap on the way.
void CheckSize(const TensorView& tensor) {
  // What fits 64 bits, times what fits 64 bits, fits 128.
  unsigned __int128 bytes = BytesOfOne(tensor.dtype);
  for (size_t dimension : tensor.shape) {
    bytes *= dimension;
    FUZZ_CHECK(bytes <= ~size_t{0});
  }
  FUZZ_CHECK(bytes == tensor.bytes.size());
}

void CheckTensors(const TensorMap& tensors, std::span<const std::byte> file) {
  uint64_t header = 0;
  for (size_t i = 8; i-- > 0;) header = header << 8 | static_cast<uint8_t>(file[i]);
  FUZZ_CHECK(header <= file.size() - 8);
  const std::byte* const data = file.data() + 8 + header;
  const std::byte* const end = file.data() + file.size();
  const auto document =
      nlohmann::json::parse(file.begin() + 8, file.begin() + 8 + static_cast<ptrdiff_t>(header));
  FUZZ_CHECK(document.size() == tensors.size() + document.count("__metadata__"));
  std::vector<bool> covered(static_cast<size_t>(end - data));
  for (const auto& [name, tensor] : tensors) {
    CheckSize(tensor);
    FUZZ_CHECK(tensor.bytes.data() >= data && tensor.bytes.data() + tensor.bytes.size() <= end);
    const nlohmann::json& entry = document[name];
    FUZZ_CHECK(entry["dtype"] == tensor.dtype && entry["shape"] == tensor.shape);
    FUZZ_CHECK(entry["data_offsets"][0] == tensor.bytes.data() - data);
    FUZZ_CHECK(entry["data_offsets"][1] == tensor.bytes.data() + tensor.bytes.size() - data);
    for (const std::byte& byte : tensor.bytes) {
      FUZZ_CHECK(!covered[&byte - data]);
      covered[&byte - data] = true;
    }
  }
  FUZZ_CHECK(std::find(covered.begin(), covered.end(), false) == covered.end());
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  zerohop::FuzzInput input(bytes, size);
  const std::string made = zerohop::MakeFile(input);
  // Ends where the allocation ends, so that a sanitizer sees a read beyond it.
  const auto memory = std::make_unique<std::byte[]>(made.size());
  std::transform(made.begin(), made.end(), memory.get(), [](char c) { return static_cast<std::byte>(c); });
  const std::span<const std::byte> file(memory.get(), made.size());
  const auto tensors = zerohop::ParseSafetensors(file);
  if (tensors.ok()) {
    zerohop::CheckTensors(*tensors, file);
    return 0;
  }
  const std::string why(tensors.status().message());
  FUZZ_CHECK(absl::IsInvalidArgument(tensors.status()));
  FUZZ_CHECK(zerohop::IsCleanText(why) && !why.empty() && why.size() < 1000);
  return 0;
}

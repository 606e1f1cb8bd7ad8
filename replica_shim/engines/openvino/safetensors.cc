#include "replica_shim/engines/openvino/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace zerohop {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
// Real headers are well below a megabyte; the bound keeps a hostile one from costing gigabytes.
constexpr uint64_t kMaxHeaderBytes = uint64_t{32} << 20;
// { "name": { "shape": [ ] } } is three deep.
constexpr int kMaxDepth = 3;

absl::Status Corrupt(const std::string& why) {
  return absl::InvalidArgumentError(why);
}

// Names come from the file: shown in printable form and never at full length.
std::string Shown(const std::string& name) {
  constexpr size_t kMost = 80;
  return absl::StrCat("'", absl::CEscape(name.substr(0, kMost)), name.size() > kMost ? "...'" : "'");
}

std::optional<size_t> BytesPerValue(std::string_view dtype) {
  static constexpr std::pair<std::string_view, size_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  for (const auto& [name, size] : kSizes) {
    if (name == dtype) return size;
  }
  return std::nullopt;
}

// The parser builds what it reads, so the depth is bounded before it starts.
bool IsShallow(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

absl::StatusOr<json> ParseHeader(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return Corrupt(absl::StrCat("the file has ", file.size(), " bytes, less than the 8 of a header length"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (length > file.size() - kLengthBytes) {
    return Corrupt(absl::StrCat("the header length is ", length, ", but only ", file.size() - kLengthBytes,
                                " bytes follow it"));
  }
  if (length > kMaxHeaderBytes) {
    return Corrupt(absl::StrCat("the header length is ", length, ", more than the ", kMaxHeaderBytes,
                                " bytes that are read"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data() + kLengthBytes), length);
  if (!IsShallow(text)) return Corrupt("the header is nested deeper than a safetensors header can be");
  json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) return Corrupt("the header is not a JSON object");
  return header;
}

// A JSON array of non-negative integers; nothing else.
std::optional<std::vector<size_t>> Naturals(const json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) return std::nullopt;
  std::vector<size_t> values;
  for (const json& value : *found) {
    if (!value.is_number_unsigned()) return std::nullopt;
    values.push_back(value.get<size_t>());
  }
  return values;
}

absl::StatusOr<TensorView> ParseTensor(const std::string& name, const json& entry,
                                       std::span<const std::byte> data) {
  if (!entry.is_object()) return Corrupt(absl::StrCat("the entry of ", Shown(name), " is not an object"));
  const auto dtype = entry.find("dtype");
  const auto shape = Naturals(entry, "shape");
  const auto offsets = Naturals(entry, "data_offsets");
  if (dtype == entry.end() || !dtype->is_string() || !shape || !offsets || offsets->size() != 2) {
    return Corrupt(absl::StrCat("the entry of ", Shown(name), " has no valid dtype, shape and data_offsets"));
  }
  TensorView tensor{.dtype = dtype->get<std::string>(), .shape = *shape, .bytes = {}};
  const std::optional<size_t> value_bytes = BytesPerValue(tensor.dtype);
  if (!value_bytes) {
    return Corrupt(absl::StrCat("tensor ", Shown(name), " has the unknown dtype ", Shown(tensor.dtype)));
  }
  const size_t begin = (*offsets)[0];
  const size_t end = (*offsets)[1];
  if (begin > end || end > data.size()) {
    return Corrupt(absl::StrCat("tensor ", Shown(name), " lies at ", begin, " to ", end, ", outside the ",
                                data.size(), " bytes of data"));
  }
  size_t size = *value_bytes;
  for (const size_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(size, dimension, &size)) {
      return Corrupt(absl::StrCat("the shape of tensor ", Shown(name), " is larger than memory"));
    }
  }
  if (size != end - begin) {
    return Corrupt(absl::StrCat("tensor ", Shown(name), " needs ", size,
                                " bytes for its shape and dtype, but has ", end - begin));
  }
  tensor.bytes = data.subspan(begin, size);
  return tensor;
}

absl::Status CheckCoverage(const TensorMap& tensors, std::span<const std::byte> data) {
  std::vector<std::pair<size_t, size_t>> ranges;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = tensor.bytes.data() - data.data();
    ranges.emplace_back(begin, begin + tensor.bytes.size());
  }
  std::sort(ranges.begin(), ranges.end());
  size_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) {
      return Corrupt(absl::StrCat("the tensors leave a hole or overlap at byte ", std::min(begin, covered),
                                  " of the data"));
    }
    covered = end;
  }
  if (covered != data.size()) {
    return Corrupt(absl::StrCat("the tensors end at byte ", covered, " of ", data.size(), " bytes of data"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorMap> ParseSafetensors(std::span<const std::byte> file) {
  absl::StatusOr<json> header = ParseHeader(file);
  if (!header.ok()) return header.status();
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= static_cast<uint64_t>(file[i]) << (8 * i);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + header_bytes);
  TensorMap tensors;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<TensorView> tensor = ParseTensor(name, entry, data);
    if (!tensor.ok()) return tensor.status();
    tensors.emplace(name, *std::move(tensor));
  }
  if (absl::Status status = CheckCoverage(tensors, data); !status.ok()) return status;
  return tensors;
}

}  // namespace zerohop

#include "bench/shallow_wire.h"

#include <algorithm>
#include <cstring>

namespace zerohop::bench {
namespace {

constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kDelimited = 2;
constexpr uint32_t kFixed32 = 5;

// Reads forward over slices as if they were one piece.
class SliceCursor {
 public:
  explicit SliceCursor(std::span<const grpc::Slice> slices) : rest_(slices) { Advance(); }

  bool AtEnd() const { return at_ == end_; }

  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !AtEnd(); shift += 7) {
      const uint8_t byte = *at_++;
      if (at_ == end_) Advance();
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  // Copies to `out` unless it is null.
  bool Take(uint64_t bytes, std::string* out) {
    if (out != nullptr) out->clear();
    while (bytes > 0 && !AtEnd()) {
      const uint64_t step = std::min<uint64_t>(bytes, end_ - at_);
      if (out != nullptr) out->append(reinterpret_cast<const char*>(at_), step);
      at_ += step;
      bytes -= step;
      if (at_ == end_) Advance();
    }
    return bytes == 0;
  }

  bool SkipValue(uint32_t wire_type) {
    uint64_t number = 0;
    switch (wire_type) {
      case kVarint:
        return Varint(number);
      case kFixed64:
        return Take(8, nullptr);
      case kDelimited:
        return Varint(number) && Take(number, nullptr);
      case kFixed32:
        return Take(4, nullptr);
      default:
        return false;
    }
  }

 private:
  // To the next slice that is not empty; at the end, at_ == end_.
  void Advance() {
    while (at_ == end_ && !rest_.empty()) {
      at_ = rest_.front().begin();
      end_ = rest_.front().end();
      rest_ = rest_.subspan(1);
    }
  }

  std::span<const grpc::Slice> rest_;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
};

bool TakeString(SliceCursor& cursor, std::string& out) {
  uint64_t length = 0;
  return cursor.Varint(length) && cursor.Take(length, &out);
}

bool TakeInt(SliceCursor& cursor, int32_t& out) {
  uint64_t value = 0;
  if (!cursor.Varint(value)) return false;
  out = static_cast<int32_t>(value);
  return true;
}

bool TakeBlob(SliceCursor& cursor, ResponseShape& shape) {
  uint64_t length = 0;
  if (!cursor.Varint(length) || !cursor.Take(length, nullptr)) return false;
  ++shape.blobs;
  shape.shortest_blob = std::min(shape.shortest_blob, length);
  shape.longest_blob = std::max(shape.longest_blob, length);
  return true;
}

// Hands every field's tag, and the cursor at its value, to `take`, which says whether the value was there.
template <typename Take>
bool ScanFields(std::span<const grpc::Slice> slices, Take take) {
  SliceCursor cursor(slices);
  while (!cursor.AtEnd()) {
    uint64_t tag = 0;
    if (!cursor.Varint(tag) || !take(tag, cursor)) return false;
  }
  return true;
}

// Tag of a field: its number and how its value is written.
constexpr uint64_t Tag(int number, uint32_t wire_type) {
  return (uint64_t(number) << 3) | wire_type;
}

}  // namespace

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void AppendField(int number, std::string_view value, std::string& out) {
  AppendVarint(Tag(number, kDelimited), out);
  AppendVarint(value.size(), out);
  out.append(value);
}

void AppendInt(int number, int64_t value, std::string& out) {
  AppendVarint(Tag(number, kVarint), out);
  AppendVarint(static_cast<uint64_t>(value), out);
}

bool ScanRequest(std::span<const grpc::Slice> slices, RequestShape& shape) {
  return ScanFields(slices, [&shape](uint64_t tag, SliceCursor& cursor) {
    switch (tag) {
      case Tag(1, kDelimited):
        return TakeString(cursor, shape.request_id);
      case Tag(2, kVarint):
        return TakeInt(cursor, shape.n_prompts);
      default:
        return cursor.SkipValue(tag & 7);
    }
  });
}

bool ScanResponse(std::span<const grpc::Slice> slices, ResponseShape& shape) {
  return ScanFields(slices, [&shape](uint64_t tag, SliceCursor& cursor) {
    switch (tag) {
      case Tag(1, kDelimited):
        return TakeString(cursor, shape.request_id);
      case Tag(2, kVarint):
        return TakeInt(cursor, shape.n_prompts);
      case Tag(3, kVarint):
        return TakeInt(cursor, shape.dim);
      case Tag(4, kDelimited):
        return TakeBlob(cursor, shape);
      case Tag(5, kDelimited):
        return TakeString(cursor, shape.error);
      default:
        return cursor.SkipValue(tag & 7);
    }
  });
}

}  // namespace zerohop::bench

#pragma once

// PieceCursor: reads a message that lies in several pieces as if it were one.
// Every read says whether the bytes were there.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "broker/lanes/request_body.h"

namespace zerohop {

class PieceCursor {
 public:
  explicit PieceCursor(const RequestBody& body) : body_(body) {
    for (const auto& piece : body.pieces) end_ += piece.size();
  }
  // Bytes [from, from + length) of it; they must be there.
  PieceCursor(const RequestBody& body, uint64_t from, uint64_t length) : body_(body), end_(from + length) {
    SkipTo(from);
  }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return end_ - position_; }

  bool ReadByte(uint8_t* byte) {
    const auto run = NextRun(1);
    if (run.empty()) return false;
    *byte = static_cast<uint8_t>(run[0]);
    return true;
  }

  // Up to `most` bytes that lie together; empty at the end.
  std::span<const std::byte> NextRun(uint64_t most) {
    most = std::min(most, remaining());
    if (most == 0) return {};
    while (in_piece_ == body_.pieces[piece_].size()) ++piece_, in_piece_ = 0;
    const auto run = body_.pieces[piece_].subspan(
        in_piece_, std::min<uint64_t>(most, body_.pieces[piece_].size() - in_piece_));
    in_piece_ += run.size();
    position_ += run.size();
    return run;
  }

  bool Skip(uint64_t bytes) {
    if (bytes > remaining()) return false;
    while (bytes > 0) bytes -= NextRun(bytes).size();
    return true;
  }

  bool Read(void* to, uint64_t bytes) {
    if (bytes > remaining()) return false;
    auto* out = static_cast<std::byte*>(to);
    while (bytes > 0) {
      const auto run = NextRun(bytes);
      std::memcpy(out, run.data(), run.size());
      out += run.size();
      bytes -= run.size();
    }
    return true;
  }

  // A base-128 varint of at most 10 bytes.
  bool ReadVarint(uint64_t* value) {
    *value = 0;
    uint8_t byte;
    for (int shift = 0; shift < 70 && ReadByte(&byte); shift += 7) {
      *value |= uint64_t{byte & 0x7fu} << std::min(shift, 63);
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

 private:
  void SkipTo(uint64_t offset) {
    piece_ =
        static_cast<size_t>(std::upper_bound(body_.piece_offsets.begin(), body_.piece_offsets.end(), offset) -
                            body_.piece_offsets.begin());
    if (piece_ > 0) --piece_;
    position_ = offset;
    in_piece_ = body_.pieces.empty() ? 0 : offset - body_.piece_offsets[piece_];
  }

  const RequestBody& body_;
  uint64_t end_ = 0;
  uint64_t position_ = 0;
  size_t piece_ = 0;
  uint64_t in_piece_ = 0;
};

}  // namespace zerohop

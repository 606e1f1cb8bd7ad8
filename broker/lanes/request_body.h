#pragma once

// RequestBody: the bytes of one request as gRPC received them, and where in
// them the prompts lie. The durable copy from which every attempt is posted.
//
// The bytes come in pieces (slices); a prompt may straddle two. They belong to
// the call that received them and stay valid until its ticket is answered.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/container/inlined_vector.h"
#include "shm/engine_info.h"

namespace zerohop {

struct PromptPlace {
  uint64_t offset = 0;  // from the start of the message
  uint32_t length = 0;  // bytes
};

// Most requests have one prompt, in one piece: those take no memory of their own.
using PromptPlaces = absl::InlinedVector<PromptPlace, 1>;

struct RequestBody {
  PromptKind kind = PromptKind::kText;
  absl::InlinedVector<std::span<const std::byte>, 1> pieces;
  absl::InlinedVector<uint64_t, 1> piece_offsets;  // of each piece, from the start of the message
  PromptPlaces prompts;

  void AddPiece(std::span<const std::byte> piece) {
    piece_offsets.push_back(pieces.empty() ? 0 : piece_offsets.back() + pieces.back().size());
    pieces.push_back(piece);
  }

  // Copies `length` bytes from `offset` on; both within the message.
  void CopyOut(uint64_t offset, uint32_t length, std::byte* to) const {
    size_t piece =
        std::upper_bound(piece_offsets.begin(), piece_offsets.end(), offset) - piece_offsets.begin() - 1;
    uint64_t skip = offset - piece_offsets[piece];
    while (length > 0) {
      const auto rest = pieces[piece++].subspan(skip);
      const size_t bytes = std::min<size_t>(rest.size(), length);
      std::copy_n(rest.data(), bytes, to);  // a piece may be empty, and have no address
      to += bytes;
      length -= static_cast<uint32_t>(bytes);
      skip = 0;
    }
  }
};

}  // namespace zerohop

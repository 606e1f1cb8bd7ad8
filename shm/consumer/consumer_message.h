#pragma once

// Consumer messages: what a consumer of rows on the GPU, a process on this host,
// and the broker say to each other. One JSON document per packet, at most
// kMaxConsumerMessageBytes. Decode survives any bytes and says what is wrong.
//
//   consumer                             broker
//     ConsumerHello  ----------------------->      who I am, which device I use
//            <------------------------ ConsumerOffer   an arena of your own on it
//            <------------------------ ConsumerRefused or why not; then the end
//     EmbedTexts   ------------------------->      any number of them, each with an id
//            <------------------------ RowsLeased      in any order: rows that lie in the arena
//            <------------------------ NotEmbedded     or why there are none
//     ReturnLease  ------------------------->      the rows are read no more
//     ArenaClosed  ------------------------->      I have let go of the arena, and leave

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/cuda/arena_handle.h"

namespace zerohop {

inline constexpr uint32_t kConsumerProtocol = 1;
// What a packet socket takes with the kernel's ordinary limits.
inline constexpr size_t kMaxConsumerMessageBytes = 192 << 10;

struct ConsumerHello {
  uint32_t protocol = kConsumerProtocol;
  std::string device;  // UUID
};
struct ConsumerOffer {
  ArenaHandle arena;
};
struct ConsumerRefused {
  std::string reason;
};
struct EmbedTexts {
  uint64_t id = 0;  // the consumer's to choose; not that of another request under way
  std::vector<std::string> texts;
  int64_t timeout_ns = 0;  // from its arrival; 0: none but the broker's
};
struct RowsLeased {
  uint64_t id = 0;      // of the request
  uint64_t lease = 0;   // never given twice to a consumer
  uint64_t offset = 0;  // in the arena, bytes
  uint64_t rows = 0;    // `rows` times `dim` floats without a gap
  uint32_t dim = 0;
};
struct NotEmbedded {
  uint64_t id = 0;
  absl::Status why;
};
struct ReturnLease {
  uint64_t lease = 0;
};
struct ArenaClosed {};

using ConsumerMessage = std::variant<ConsumerHello, ConsumerOffer, ConsumerRefused, EmbedTexts, RowsLeased,
                                     NotEmbedded, ReturnLease, ArenaClosed>;

// Texts must be UTF-8 (shm/utf8.h); of what people are to read, other bytes are replaced.
std::string EncodeConsumerMessage(const ConsumerMessage& message);
absl::StatusOr<ConsumerMessage> DecodeConsumerMessage(std::string_view bytes);

}  // namespace zerohop

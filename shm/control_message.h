#pragma once

// Control messages: what broker and replica say to each other over the control
// socket, outside the fast path. One JSON document per packet, at most
// kMaxControlMessageBytes. Decode survives any bytes and says what is wrong.
//
//   replica                              broker
//     Hello  ------------------------------>      who I am, which protocol
//            <------------------------------ Offer (with the lane's descriptors)
//     Ready  ------------------------------>      the engine is loaded; the lane is served
//     Failed ------------------------------>      why not; then the replica exits
//            <------------------------------ Drain   finish what was taken, then exit

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "shm/engine_info.h"
#include "shm/return_path.h"

namespace zerohop {

inline constexpr uint32_t kControlProtocol = 2;
inline constexpr size_t kMaxControlMessageBytes = 16 << 10;

struct Hello {
  uint32_t protocol = kControlProtocol;
  int64_t pid = 0;  // for the log; the broker watches the process it started, not this number
};
struct Offer {
  uint32_t replica = 0;
  uint64_t epoch = 0;
  uint64_t generation = 0;
  int64_t spin_ns = 0;  // most that the worker may spin before it sleeps
  int64_t beat_ns = 0;  // how often the replica beats
  int64_t step_ns = 0;  // what one pass over the model may take
  std::optional<DeviceOffer> device{};
};
struct Ready {
  EngineInfo info;
  ReturnVerdict taken{};
};
struct Failed {
  std::string reason;
};
struct Drain {};

using ControlMessage = std::variant<Hello, Offer, Ready, Failed, Drain>;

std::string Encode(const ControlMessage& message);
absl::StatusOr<ControlMessage> Decode(std::string_view bytes);

}  // namespace zerohop

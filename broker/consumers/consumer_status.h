#pragma once

// ConsumerStatus, DeskStatus: what the desk shows of the consumers to whoever asks: the figures of one
// moment.

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace zerohop {

enum class ConsumerState : uint8_t {
  kGreeting,  // it has connected, and has no arena yet
  kServed,
  kLeft,  // it is heard no more, but may have its arena open
};

constexpr std::string_view Name(ConsumerState state) {
  switch (state) {
    case ConsumerState::kGreeting:
      return "greeting";
    case ConsumerState::kServed:
      return "served";
    case ConsumerState::kLeft:
      return "left";
  }
  return "unknown";
}

// Requests since the beginning. One that was accepted ends in a lease, or in an error of later.
struct RequestCounts {
  uint64_t accepted = 0;
  uint64_t refused = 0;
};

struct ConsumerStatus {
  uint64_t number = 0;
  pid_t pid = 0;
  ConsumerState state = ConsumerState::kGreeting;
  uint64_t leases = 0;       // that it holds
  uint64_t requests = 0;     // that have not ended
  uint64_t arena_bytes = 0;  // none before it has an arena
  uint64_t bytes_taken = 0;  // of these: by leases, and for requests
  RequestCounts counts;
};

struct DeskStatus {
  std::vector<ConsumerStatus> consumers;  // those that take a place, so they are few
  RequestCounts counts;                   // with those of consumers that are gone
  uint64_t let_go = 0;                    // consumers; the log has each one's reason
};

}  // namespace zerohop

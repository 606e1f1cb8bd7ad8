#pragma once

// Shard: the part of a ticket's prompts that goes to one replica at once.
// It belongs to its ticket; whoever holds a ShardRef keeps the ticket alive.

#include <cstdint>
#include <memory>
#include <string>

#include "broker/lanes/request_body.h"

namespace zerohop {

struct Ticket;     // router/ticket.h
class ShardQueue;  // router/shard_queue.h

inline constexpr uint32_t kNobody = ~0u;

struct Shard {
  Ticket* ticket = nullptr;
  const RequestBody* body = nullptr;  // its ticket's
  uint32_t first = 0;                 // prompts [first, first + count) of the body
  uint32_t count = 0;
  uint64_t tokens = 0;                // estimated
  uint64_t request_bytes = 0;         // of its prompts
  int64_t deadline_monotonic_ns = 0;  // 0: none
  int32_t priority = 0;
  uint32_t attempts = 0;           // times posted, unless its replica died without having begun
  uint32_t failed_on = kNobody;    // whose engine failed with it last: another is tried next
  ShardQueue* waits_in = nullptr;  // the queue that counts it
  bool stays_on_device = false;    // as its ticket's
  bool suspect = false;            // was begun by a replica that died: runs alone now
};

using ShardRef = std::shared_ptr<Shard>;

}  // namespace zerohop

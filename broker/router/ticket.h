#pragma once

// Ticket: the broker's private record of one accepted request. It ends in
// exactly one Answer, whatever happens to clients and replicas.
//
//   queued --post--> posted --last shard back--> answered
//     ^                 |
//     +-- died, failed -+       (third failure, rejection, cancel, expiry: answered)
//
// Guarded by the dispatch lock from Submit on; before that it belongs to the
// call that made it. Shards keep it alive while a replica may still refer to it.

#include <boost/intrusive/list_hook.hpp>
#include <boost/intrusive/set_hook.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "broker/lanes/row_block.h"
#include "broker/lanes/shard.h"
#include "broker/lanes/short_text.h"
#include "broker/router/admission.h"

namespace zerohop {

// Why a request got no embeddings; StatusOf says which status a client sees.
enum class Outcome {
  kEmbedded,
  kInvalid,      // the request itself is wrong
  kNoReplica,    // nobody serves
  kReplicaLost,  // replicas failed, and no attempt is left
  kOverloaded,   // the queue is full
  kWithdrawn,    // aborted by request, or cancelled by the client
  kExpired,      // the client's deadline has passed
  kLeaving,      // the broker drains
};

struct Answer {
  Outcome outcome = Outcome::kEmbedded;
  std::string message{};  // one sentence, when there are no embeddings
  uint32_t dim = 0;       // kEmbedded
  RowBlocks rows{};       // kEmbedded: all rows in order of the prompts
  AdmittedBytes bytes{};  // kEmbedded: kept by whoever sends the rows, until they are sent
};

// OK for kEmbedded.
absl::Status StatusOf(const Answer& answer);

// For requests before any replica has served.
inline Answer NoneHasStarted() {
  return {Outcome::kNoReplica, "No healthy replicas: none has started yet"};
}

// Who waits for a ticket. OnAnswer is called once, on any thread, under no lock.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void OnAnswer(Answer answer) = 0;
  // The socket that the answer goes out on; -1: none, or not known. Answers that are ready together go out in
  // one piece there. Asked before OnAnswer, by the same thread.
  virtual int socket() { return -1; }
};

// Its links are those of LiveTickets.
struct Ticket : boost::intrusive::list_base_hook<>, boost::intrusive::set_base_hook<> {
  ShortText request_id;
  RequestBody body;
  int32_t priority = 0;                              // lower is served earlier
  std::chrono::steady_clock::time_point arrived_at;  // set by Submit
  std::chrono::steady_clock::time_point client_deadline = std::chrono::steady_clock::time_point::max();
  bool stays_on_device = false;  // rows that are born on a device are given where they lie
  AnswerSink* sink = nullptr;    // null once answered

  // The router's.
  uint64_t cost_bytes = 0;  // request and answer, as admitted
  absl::InlinedVector<Shard, 1> shards;
  RowBlocks rows;                     // one per shard, as they come back
  size_t unfinished = 0;              // shards without rows
  std::shared_ptr<Ticket> kept_live;  // itself, while it is among the live ones

  bool answered() const { return sink == nullptr; }
};

}  // namespace zerohop

#pragma once

// Shard plan: how a request is cut. A pure function.
//
// A small request goes whole to one replica. A larger one is spread over the
// replicas that are idle now, in shards that become smaller, so that all end
// together where each goes to the least busy; one larger still is cut so that
// no part holds a replica, or an arena, for long.

#include <cstdint>
#include <span>

#include "absl/container/inlined_vector.h"
#include "broker/lanes/request_body.h"

namespace zerohop {

struct ShardLimits {
  uint64_t tokens = 2048;            // estimated; most in one shard
  uint64_t worthwhile_tokens = 128;  // spreading thinner than this costs more than it wins
  uint64_t request_bytes = 8 << 20;
  uint64_t rows = 4096;
  // Whether the next shard goes where least is to do. Where it does not, all are alike.
  bool balanced = true;
};

struct ShardRange {
  uint32_t first = 0;
  uint32_t count = 0;
  uint64_t tokens = 0;
  uint64_t request_bytes = 0;
};

using ShardRanges = absl::InlinedVector<ShardRange, 1>;

// Tokens that a prompt will probably take; never 0.
uint64_t EstimateTokens(PromptKind kind, uint32_t bytes, uint32_t max_tokens);

// Covers every prompt once, in order. A prompt larger than a limit is a shard of its own.
ShardRanges PlanShards(const RequestBody& body, uint32_t max_tokens, uint32_t idle_replicas,
                       const ShardLimits& limits);

}  // namespace zerohop

#pragma once

// A shard of all prompts of a call, as the router cuts it.

#include <memory>

#include "broker/lanes/shard.h"
#include "tests/support/test_call.h"

namespace zerohop {

inline ShardRef NewShard(TestCall& call, uint64_t tokens = 1) {
  auto shard = std::make_shared<Shard>();
  shard->ticket = call.ticket().get();
  shard->body = &call.ticket()->body;
  shard->count = static_cast<uint32_t>(shard->body->prompts.size());
  shard->tokens = tokens;
  for (const PromptPlace& prompt : shard->body->prompts) shard->request_bytes += prompt.length;
  return shard;
}

}  // namespace zerohop

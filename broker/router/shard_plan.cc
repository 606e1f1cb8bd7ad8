#include "broker/router/shard_plan.h"

#include <algorithm>

namespace zerohop {
namespace {

// A shard is this part of a replica's share of what is left to cut.
constexpr uint64_t kShardsPerShare = 2;

}  // namespace

uint64_t EstimateTokens(PromptKind kind, uint32_t bytes, uint32_t max_tokens) {
  // English takes 4 to 5 bytes a token; two more for the marks at both ends.
  const uint64_t guess = kind == PromptKind::kTokenIds ? bytes / sizeof(int32_t) : bytes / 4 + 2;
  return std::clamp<uint64_t>(guess, 1, std::max(1u, max_tokens));
}

ShardRanges PlanShards(const RequestBody& body, uint32_t max_tokens, uint32_t idle_replicas,
                       const ShardLimits& limits) {
  uint64_t left = 0;
  for (const PromptPlace& prompt : body.prompts) left += EstimateTokens(body.kind, prompt.length, max_tokens);
  const uint64_t idle = std::max(1u, idle_replicas);
  const uint64_t even = (left + idle - 1) / idle;
  // The first shards are large, and the last small enough to let all end together.
  const auto most_tokens = [&] {
    const uint64_t wanted = limits.balanced && idle > 1 ? left / (kShardsPerShare * idle) : even;
    return std::min(limits.tokens, std::max(wanted, limits.worthwhile_tokens));
  };

  uint64_t tokens = most_tokens();
  ShardRanges shards;
  for (uint32_t i = 0; i < body.prompts.size(); ++i) {
    const uint32_t bytes = body.prompts[i].length;
    const uint64_t cost = EstimateTokens(body.kind, bytes, max_tokens);
    const bool open = !shards.empty();
    if (!open || shards.back().tokens + cost > tokens || shards.back().count >= limits.rows ||
        shards.back().request_bytes + bytes > limits.request_bytes) {
      shards.push_back({i, 0, 0, 0});
      tokens = most_tokens();
    }
    ShardRange& shard = shards.back();
    ++shard.count;
    shard.tokens += cost;
    left -= cost;
    shard.request_bytes += bytes;
  }
  return shards;
}

}  // namespace zerohop

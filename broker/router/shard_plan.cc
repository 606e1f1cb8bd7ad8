#include "broker/router/shard_plan.h"

#include <algorithm>

namespace zerohop {
namespace {

// Of a request that is spread, an idle replica gets this part of its share of what is left to cut.
constexpr uint32_t kPartsAReplica = 2;

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
  // Each shard is a part of what is left: the first are large, and the last small enough to let all end
  // together.
  const uint64_t parts = idle_replicas > 1 ? uint64_t{kPartsAReplica} * idle_replicas : 1;
  const auto most_tokens = [&] {
    return std::min(limits.tokens, std::max(left / parts, limits.worthwhile_tokens));
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

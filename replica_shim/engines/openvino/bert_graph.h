#pragma once

// BertGraph: a BertModel's graph, built from config.json and model.safetensors.
//
// float32 weights stay in the mapped file, whose pages all replicas share; the
// graph keeps the mapping alive. Half-precision weights are widened once.
// A sequence of its input may hold several prompts (packing.h). Inputs, i32: input_ids,
// position_ids and prompt_ids (which prompt the token belongs to; -1: padding),
// [sequences, tokens]; first_tokens, where each prompt begins in all sequences, [prompts].
// Output: f32 [prompts, dim]. The token type is 0 throughout.

#include <memory>

#include "absl/status/statusor.h"
#include "openvino/core/model.hpp"
#include "replica_shim/engines/openvino/model_folder.h"

namespace zerohop {

struct BertConfig {
  size_t hidden_size = 0;
  size_t intermediate_size = 0;
  size_t heads = 0;
  size_t layers = 0;
  size_t positions = 0;
  size_t vocabulary = 0;
  size_t token_types = 0;
  double layer_norm_epsilon = 1e-12;
  std::string activation;  // gelu | gelu_new | relu
};

// Unimplemented: another architecture. InvalidArgument: numbers that no BERT has.
absl::StatusOr<BertConfig> ReadBertConfig(const ModelFolder& folder);

// NotFound, or InvalidArgument when the weights are corrupt or not those of the config.
absl::StatusOr<std::shared_ptr<ov::Model>> BuildBertGraph(const ModelFolder& folder,
                                                          const BertConfig& config);

}  // namespace zerohop

#pragma once

// EmbeddingHead: the graph operations between hidden states and embeddings.
// Shared by the graphs that are built here and those that are read from a file.
// Builds nodes, owns nothing; may throw what OpenVINO throws.

#include "openvino/core/node_output.hpp"
#include "replica_shim/engines/openvino/model_folder.h"

namespace zerohop {

// hidden: [prompts, tokens, dim]; mask: [prompts, tokens], 1 where a token is, 0 where padding is.
// Result: [prompts, dim].
ov::Output<ov::Node> PoolHiddenStates(const ov::Output<ov::Node>& hidden, const ov::Output<ov::Node>& mask,
                                      Pooling pooling);

// The same where several prompts share a sequence. hidden: [sequences, tokens, dim]; prompts: [sequences,
// tokens], the prompt that each token belongs to; first_tokens: [prompts], the place of each prompt's first
// token in all sequences * tokens. Result: [prompts, dim].
ov::Output<ov::Node> PoolPackedHiddenStates(const ov::Output<ov::Node>& hidden,
                                            const ov::Output<ov::Node>& prompts,
                                            const ov::Output<ov::Node>& first_tokens, Pooling pooling);

// Divides each row of [prompts, dim] by its L2 norm.
ov::Output<ov::Node> NormalizeRows(const ov::Output<ov::Node>& rows);

}  // namespace zerohop

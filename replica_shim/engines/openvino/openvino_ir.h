#pragma once

// OpenVinoIr: a folder as optimum-cli writes it: openvino_model.xml with its
// weights, and openvino_tokenizer.xml. The way in for architectures that
// bert_graph.h does not build.
//
// Functions throw what OpenVINO throws where a file is broken; the engine
// catches at its edge. The tokenizer needs one thread.

#include <memory>

#include "absl/status/statusor.h"
#include "openvino/core/model.hpp"
#include "openvino/runtime/core.hpp"
#include "replica_shim/engines/openvino/model_folder.h"
#include "replica_shim/engines/openvino/text_tokenizer.h"

namespace zerohop {

// The model with one output, f32 [prompts, dim]. An output `sentence_embedding`,
// or a single 2-D output, is taken as it is; `last_hidden_state`, or a single 3-D
// output, gets the folder's pooling and normalisation.
absl::StatusOr<std::shared_ptr<ov::Model>> ReadIrGraph(ov::Core& core, const ModelFolder& folder);

// The most tokens that the model takes, by the folder's JSON files; 512 when they say nothing.
size_t IrMaxTokens(const ModelFolder& folder);

// A longer text keeps its first tokens and, where the tokenizer ends each text with one, the last special
// token.
absl::StatusOr<std::unique_ptr<TextTokenizer>> MakeIrTokenizer(ov::Core& core, const ModelFolder& folder,
                                                               size_t max_tokens);

}  // namespace zerohop

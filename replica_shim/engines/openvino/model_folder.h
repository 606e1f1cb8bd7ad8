#pragma once

// ModelFolder: what the JSON files of a sentence-transformers folder say.
//
// Pure reading, any thread. Missing files mean what they mean to
// sentence-transformers: without modules.json a folder is a plain transformer,
// pooled by mean and not normalised. Modules that would change the embedding
// and are not supported are errors, never ignored.

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace zerohop {

enum class Pooling { kCls, kMean };

struct ModelFolder {
  std::string transformer;  // the folder of config.json and weights; ends in no slash
  nlohmann::json config;    // config.json; an empty object when the folder has none
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  size_t max_seq_length = 0;    // sentence_bert_config.json; 0: it says nothing
  bool is_openvino_ir = false;  // openvino_model.xml and openvino_tokenizer.xml are there
};

// Every error is one sentence that names the path.
absl::StatusOr<ModelFolder> ReadModelFolder(const std::string& path);

}  // namespace zerohop

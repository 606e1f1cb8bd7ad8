#pragma once

// BertTokenizer: token ids as Hugging Face's `tokenizers` makes them for BERT.
//
// Made from tokenizer.json alone: BertNormalizer and BertPreTokenizer are ours
// (BertWordSplitter), WordPiece is the OpenVINO Tokenizers library's operation,
// run directly, without a graph around it. The file's own truncation and padding
// are ignored: the model's limit counts. docs/decisions/0002-tokenizer.md has
// the reasons and the figures. One thread.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "replica_shim/engines/openvino/text_tokenizer.h"

namespace zerohop {

// Errors name `tokenizer_json`. NotFound: no such file. InvalidArgument: bad JSON, a vocabulary
// with holes in its logic, or ids beyond `vocabulary`. Unimplemented: a tokenizer of another kind.
absl::StatusOr<std::unique_ptr<TextTokenizer>> MakeBertTokenizer(const std::string& tokenizer_json,
                                                                 size_t max_tokens, size_t vocabulary);

}  // namespace zerohop

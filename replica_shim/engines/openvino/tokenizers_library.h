#pragma once

// The OpenVINO Tokenizers library, a shared object with operations for text.
//
// It is opened when a model is loaded, never linked, because its operations are
// reached as OpenVINO extensions. It stays open until the process ends: OpenVINO
// keeps pointers to what it registered.

#include <string>

#include "absl/status/statusor.h"
#include "openvino/core/node.hpp"

namespace zerohop {

// $ZEROHOP_OPENVINO_TOKENIZERS, else the library beside the OpenVINO this was built with.
std::string TokenizersLibraryPath();

// Makes the library's WordpieceTokenizer operation, not yet part of any graph:
// it is run by Node::evaluate. Inputs: runs of words (begin, end), words (begin,
// end, bytes), vocabulary (begin, end, bytes), id for unknown words. Outputs:
// runs of ids (begin, end), ids. It reads the vocabulary on its first run only.
absl::StatusOr<std::shared_ptr<ov::Node>> MakeWordpieceOperation(const std::string& suffix_indicator);

}  // namespace zerohop

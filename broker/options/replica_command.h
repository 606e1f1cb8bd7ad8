#pragma once

// The command line that starts a replica, for each kind of engine:
//
//   openvino, echo               zerohop-replica, beside this program
//   vllm, sentence-transformers  PYTHON -m zerohop.replica
//   module:Class                 PYTHON -m zerohop.replica
//   path/to/engine.py            PYTHON -m zerohop.replica, which runs the script

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zerohop {

// What the flags say of it.
struct EngineChoice {
  std::string engine = "openvino";
  std::string model;  // a folder or a name; empty: the engine's default
  std::string dtype = "auto";
  int threads = 1;
  uint32_t batch_tokens = 0;       // most tokens of a pass; 0: the engine's own choice
  std::string device{};            // of engines on a GPU; empty: theirs to choose
  std::string program;             // instead of zerohop-replica or PYTHON; empty: by the table above
  std::string python;              // the interpreter of engines in Python; empty: that of the environment
  std::vector<std::string> flags;  // the engine's own
};

// InvalidArgument and NotFound are one sentence.
absl::StatusOr<std::vector<std::string>> ReplicaCommand(const EngineChoice& choice);

// What requests must call the model where --served-model-name does not say it.
std::string DefaultServedModel(const EngineChoice& choice);

}  // namespace zerohop

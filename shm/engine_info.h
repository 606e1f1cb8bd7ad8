#pragma once

// What the two sides of a lane agree to call a prompt and a loaded engine.

#include <cstdint>
#include <string>

namespace zerohop {

// How the prompts of a submission are encoded.
enum class PromptKind : uint32_t { kText = 0, kTokenIds = 1 };

// What an engine says about itself once loaded. Shown by GetReplicaInfo.
struct EngineInfo {
  uint32_t dim = 0;            // floats per embedding
  uint32_t max_tokens = 0;     // longer texts are truncated, special tokens included
  uint32_t vocabulary = 0;     // valid token ids are 0 .. vocabulary-1; 0: not checked
  uint32_t batch_tokens = 0;   // most padded tokens that one pass should hold
  uint32_t batch_prompts = 0;  // most prompts that one pass should hold
  std::string engine;          // "openvino 2026.4.1", "echo (not a model)"
  std::string dtype;           // "float32" | "bfloat16", as it really runs
  std::string task = "embed";
  std::string device{};  // UUID of the GPU on which rows are born; empty: on the host
};

}  // namespace zerohop

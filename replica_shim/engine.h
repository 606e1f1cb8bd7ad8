#pragma once

// Engine: what turns prompts into embeddings inside one replica.
//
// The shim owns the lane and decides which prompts run together (batcher.h);
// an engine only loads a model, tokenizes, and runs one batch at a time.
// All methods are called on the shim's worker thread, Load first and once.
// Lifetime: an engine outlives every Prompt handed to it; a Prompt and the
// memory it names are valid only during the call.
// An engine never writes outside the rows it was given.
//
// An engine that makes batches by itself is a ConcurrentEngine instead: it gets
// each submission as a task, several at once (task.h).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/cuda/cuda_device.h"
#include "shm/engine_info.h"

namespace zerohop {

struct EngineOptions {
  std::string engine = "openvino";  // which engine: "openvino" or "echo"
  std::string model;                // a folder; resolved before the engine sees it
  std::string dtype = "auto";       // auto | float32 | bfloat16
  int threads = 1;                  // compute threads of this replica
  uint32_t batch_tokens = 0;        // openvino only: most tokens of a pass, padding included; 0: its choice
  std::string device;               // engines on a GPU: a UUID or an ordinal; empty: the first
  int echo_dim = 384;               // echo only: floats per embedding
  int echo_delay_us = 0;            // echo only: how long one pass takes
};

// One prompt of one submission, on its way through the engine.
struct Prompt {
  PromptKind kind = PromptKind::kText;
  std::string_view text;               // kText: UTF-8, in the request arena
  std::span<const int32_t> token_ids;  // kTokenIds: in the request arena
  std::vector<int32_t> tokens;  // set by Tokenize, where the engine keeps them: what the model will see
  uint32_t length = 0;          // set by Tokenize: tokens that the model will see, at least 1
  std::span<float> row;  // set by Run: dim floats, in the response arena; empty for an engine with a device
  cuda::CUdeviceptr device_row = 0;  // set by Run on a device: dim floats there
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Loads and warms the model. An error is one sentence that says what was
  // wrong and what was expected; the replica prints it and exits.
  virtual absl::StatusOr<EngineInfo> Load(const EngineOptions& options) = 0;

  // Sets `length` of every prompt: text is tokenized and truncated to
  // max_tokens, ids are taken as they are. InvalidArgument names nothing but
  // the reason; the shim then asks prompt by prompt to learn the index.
  virtual absl::Status Tokenize(std::span<Prompt* const> prompts) = 0;

  // Fills `row` of every prompt in one pass over the model. The shim keeps
  // batches within batch_tokens and batch_prompts, as BatchLimits says.
  // InvalidArgument for a batch of one is the caller's mistake; any other error
  // is ours, and another replica is asked.
  virtual absl::Status Run(std::span<Prompt* const> batch) = 0;

  // Once loaded, of an engine whose rows are born on a GPU, else null: the device, and the stream that Run
  // works on. Run then fills `device_row` of every prompt instead of `row`, and may return before the stream
  // is done; a batch reaches the broker only when it is. All that writes to rows is on that one stream: a row
  // whose request was withdrawn may be another's next, and only the stream's order keeps the two apart. It
  // stays until Close. An error of the device is never InvalidArgument to Run's caller, which would be the
  // client's mistake.
  virtual std::shared_ptr<const CudaDevice> device() const { return nullptr; }
  virtual cuda::CUstream stream() const { return nullptr; }

  // Once loaded: BatchLimits::token_cost. Run gets the prompts of a batch in the order in which they were
  // picked.
  virtual uint32_t token_cost() const { return 0; }

  // Before a process that was drained ends; not for one that is killed.
  virtual void Close() {}
};

class Task;  // task.h

class ConcurrentEngine {
 public:
  virtual ~ConcurrentEngine() = default;

  // As Engine::Load.
  virtual absl::StatusOr<EngineInfo> Load(const EngineOptions& options) = 0;

  // Begins with a task, and returns at once. The engine finishes it, on any
  // thread, whatever happens to it.
  virtual void Begin(std::shared_ptr<Task> task) = 0;

  // Nobody waits for the task any more. It is still to be finished, soon.
  virtual void Cancel(const std::shared_ptr<Task>& task) = 0;

  // As Engine::Close.
  virtual void Close() {}
};

using AnyEngine = std::variant<std::unique_ptr<Engine>, std::unique_ptr<ConcurrentEngine>>;

// Makes the engine that `options.engine` names; InvalidArgument lists the names.
absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const EngineOptions& options);

}  // namespace zerohop

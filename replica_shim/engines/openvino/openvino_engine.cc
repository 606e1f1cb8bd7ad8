#include "replica_shim/engines/openvino/openvino_engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "openvino/openvino.hpp"
#include "replica_shim/engines/openvino/bert_graph.h"
#include "replica_shim/engines/openvino/bert_tokenizer.h"
#include "replica_shim/engines/openvino/fast_bfloat16.h"
#include "replica_shim/engines/openvino/json_file.h"
#include "replica_shim/engines/openvino/model_folder.h"
#include "replica_shim/engines/openvino/openvino_ir.h"
#include "replica_shim/engines/openvino/text_tokenizer.h"
#include "replica_shim/packing.h"

namespace zerohop {
namespace {

// Measured in docs/engine_openvino.md: beyond these a batch gains nothing and makes others wait longer.
constexpr uint32_t kBatchTokens = 768;
constexpr uint32_t kBatchPrompts = 32;
// Warm-up stops here: a large model must not make its replica late.
constexpr std::chrono::milliseconds kWarmUpBudget{500};

// Prompts are pooled in multiples of this, of which the last are nobody's: fewer shapes to keep kernels for.
constexpr size_t kPromptsTogether = 8;

// What a graph may ask for: FillInput.
constexpr const char* kInputs[] = {"input_ids",    "attention_mask", "token_type_ids",
                                   "position_ids", "prompt_ids",     "first_tokens"};

// A model before it is compiled.
struct ReadModel {
  std::shared_ptr<ov::Model> graph;
  std::unique_ptr<TextTokenizer> tokenizer;
  size_t max_tokens = 0;
  size_t vocabulary = 0;    // 0: not known
  uint32_t token_cost = 0;  // batcher.h; 0: the graph takes a prompt a sequence
};

// OpenVINO's messages run over several lines and name its source files.
std::string OneSentence(const std::exception& error) {
  std::vector<std::string> lines;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(error.what(), '\n', absl::SkipWhitespace()))) {
    if (!line.starts_with("Exception from ") && !line.starts_with("Check ")) lines.push_back(line);
  }
  return lines.empty() ? error.what() : absl::StrJoin(lines, " ");
}

absl::StatusOr<ReadModel> ReadBertFolder(const ModelFolder& folder) {
  const absl::StatusOr<BertConfig> config = ReadBertConfig(folder);
  if (!config.ok()) return config.status();
  ReadModel model;
  // Multiplications in the dense layers, and in a column of attention: 4 h h + 2 h i, and 2 h.
  model.token_cost = static_cast<uint32_t>(2 * config->hidden_size + config->intermediate_size);
  model.vocabulary = config->vocabulary;
  model.max_tokens =
      folder.max_seq_length > 0 ? std::min(folder.max_seq_length, config->positions) : config->positions;
  absl::StatusOr<std::shared_ptr<ov::Model>> graph = BuildBertGraph(folder, *config);
  if (!graph.ok()) return graph.status();
  model.graph = *std::move(graph);
  absl::StatusOr<std::unique_ptr<TextTokenizer>> tokenizer =
      MakeBertTokenizer(folder.transformer + "/tokenizer.json", model.max_tokens, model.vocabulary);
  if (!tokenizer.ok()) return tokenizer.status();
  model.tokenizer = *std::move(tokenizer);
  return model;
}

absl::StatusOr<ReadModel> ReadIrFolder(ov::Core& core, const ModelFolder& folder) {
  ReadModel model;
  model.max_tokens = IrMaxTokens(folder);
  model.vocabulary = static_cast<size_t>(std::max<int64_t>(JsonInteger(folder.config, "vocab_size", 0), 0));
  absl::StatusOr<std::shared_ptr<ov::Model>> graph = ReadIrGraph(core, folder);
  if (!graph.ok()) return graph.status();
  model.graph = *std::move(graph);
  absl::StatusOr<std::unique_ptr<TextTokenizer>> tokenizer = MakeIrTokenizer(core, folder, model.max_tokens);
  if (!tokenizer.ok()) return tokenizer.status();
  model.tokenizer = *std::move(tokenizer);
  return model;
}

absl::StatusOr<ov::element::Type> ChoosePrecision(ov::Core& core, const std::string& dtype) {
  const auto capabilities = core.get_property("CPU", ov::device::capabilities);
  const bool has_bfloat16 =
      std::count(capabilities.begin(), capabilities.end(), ov::device::capability::BF16) > 0;
  if (dtype == "auto") return has_bfloat16 && GainsFromBfloat16() ? ov::element::bf16 : ov::element::f32;
  if (dtype == "float32") return ov::element::f32;
  if (dtype != "bfloat16") {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype is '", dtype, "', but auto, float32 or bfloat16 is expected"));
  }
  if (has_bfloat16) return ov::element::bf16;
  return absl::FailedPreconditionError(
      "dtype bfloat16 needs a CPU with AVX512_BF16 or AMX_BF16, which this one has not; use auto or float32");
}

// Fills one input of the model: token ids, mask, positions, each token's prompt, or zeros for token types;
// one value for each token, padding included. Or first_tokens, with one value for each prompt.
template <typename Integer>
void FillInput(const std::string& name, std::span<Prompt* const> batch, const Packing& packing,
               std::span<Integer> values) {
  std::fill(values.begin(), values.end(), name == "prompt_ids" ? Integer{-1} : Integer{0});
  for (size_t i = 0; i < batch.size(); ++i) {
    const std::vector<int32_t>& tokens = batch[i]->tokens;
    const size_t first = packing.FirstToken(i);
    if (name == "first_tokens") {
      values[i] = static_cast<Integer>(first);
      continue;
    }
    const auto own = values.begin() + static_cast<ptrdiff_t>(first);
    if (name == "input_ids") std::copy(tokens.begin(), tokens.end(), own);
    if (name == "attention_mask") std::fill_n(own, tokens.size(), Integer{1});
    if (name == "position_ids") std::iota(own, own + tokens.size(), Integer{0});
    if (name == "prompt_ids") std::fill_n(own, tokens.size(), static_cast<Integer>(i));
  }
}

class OpenVinoEngine : public Engine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions& options) override;
  absl::Status Tokenize(std::span<Prompt* const> prompts) override;
  absl::Status Run(std::span<Prompt* const> batch) override;
  uint32_t token_cost() const override { return token_cost_; }

 private:
  struct Input {
    std::string name;
    ov::Tensor tensor;  // of the last batch's shape
  };

  absl::StatusOr<EngineInfo> LoadFolder(const EngineOptions& options);
  absl::Status Compile(const std::shared_ptr<ov::Model>& graph, const EngineOptions& options);
  void WarmUp();
  absl::Status TokenizeTexts(std::span<Prompt* const> prompts);
  absl::Status CheckIds(std::span<const int32_t> ids) const;
  Packing Pack(std::span<Prompt* const> batch) const;
  void Infer(std::span<Prompt* const> batch);

  ov::Core core_;
  std::unique_ptr<TextTokenizer> tokenizer_;
  ov::InferRequest request_;
  std::vector<Input> inputs_;
  EngineInfo info_;
  uint32_t token_cost_ = 0;  // batcher.h; 0: the graph takes a prompt a sequence
};

absl::StatusOr<EngineInfo> OpenVinoEngine::Load(const EngineOptions& options) {
  try {
    return LoadFolder(options);
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("OpenVINO cannot load ", options.model, ": ", OneSentence(error)));
  }
}

absl::StatusOr<EngineInfo> OpenVinoEngine::LoadFolder(const EngineOptions& options) {
  absl::StatusOr<ModelFolder> folder = ReadModelFolder(options.model);
  if (!folder.ok()) return folder.status();
  absl::StatusOr<ReadModel> model =
      folder->is_openvino_ir ? ReadIrFolder(core_, *folder) : ReadBertFolder(*folder);
  if (!model.ok()) return model.status();
  tokenizer_ = std::move(model->tokenizer);
  token_cost_ = model->token_cost;
  const ov::Dimension dim = model->graph->output(0).get_partial_shape()[1];
  if (dim.is_dynamic()) {
    return absl::UnimplementedError(absl::StrCat(options.model, " has embeddings of no fixed dimension"));
  }
  info_.dim = static_cast<uint32_t>(dim.get_length());
  info_.max_tokens = static_cast<uint32_t>(model->max_tokens);
  info_.vocabulary = static_cast<uint32_t>(model->vocabulary);
  info_.batch_tokens = options.batch_tokens > 0 ? options.batch_tokens : kBatchTokens;
  info_.batch_prompts = kBatchPrompts;
  if (absl::Status status = Compile(model->graph, options); !status.ok()) return status;
  WarmUp();
  return info_;
}

absl::Status OpenVinoEngine::Compile(const std::shared_ptr<ov::Model>& graph, const EngineOptions& options) {
  const absl::StatusOr<ov::element::Type> precision = ChoosePrecision(core_, options.dtype);
  if (!precision.ok()) return precision.status();
  if (options.threads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", options.threads, ", but at least 1 is expected"));
  }
  ov::CompiledModel compiled =
      core_.compile_model(graph, "CPU", ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                          ov::num_streams(1), ov::inference_num_threads(options.threads),
                          ov::hint::enable_cpu_pinning(false), ov::hint::inference_precision(*precision));
  info_.dtype =
      compiled.get_property(ov::hint::inference_precision) == ov::element::bf16 ? "bfloat16" : "float32";
  const std::string version = ov::get_openvino_version().buildNumber;
  info_.engine = absl::StrCat("openvino ", version.substr(0, version.find('-')));
  request_ = compiled.create_infer_request();
  for (const ov::Output<const ov::Node>& input : compiled.inputs()) {
    for (const char* name : kInputs) {
      if (!input.get_names().contains(name)) continue;
      inputs_.push_back(
          {name, ov::Tensor(input.get_element_type(), ov::Shape(input.get_partial_shape().size(), 1))});
      break;
    }
  }
  return absl::OkStatus();
}

// The first pass over a shape compiles kernels for it, which doubles the time of a short query.
void OpenVinoEngine::WarmUp() {
  std::vector<std::pair<size_t, size_t>> shapes;  // prompts, tokens
  for (size_t tokens = 2; tokens <= kQueryTokens; ++tokens) shapes.emplace_back(1, tokens);
  for (const size_t prompts : {2, 4, 8, 16, 32}) shapes.emplace_back(prompts, 12);
  std::vector<float> row(info_.dim);
  const auto end = std::chrono::steady_clock::now() + kWarmUpBudget;
  for (const auto& [prompts, tokens] : shapes) {
    if (tokens > info_.max_tokens) continue;
    Prompt prompt;
    prompt.tokens.assign(tokens, 0);
    prompt.row = row;
    Infer(std::vector<Prompt*>(prompts, &prompt));
    if (std::chrono::steady_clock::now() > end) return;
  }
}

absl::Status OpenVinoEngine::Tokenize(std::span<Prompt* const> prompts) {
  for (Prompt* prompt : prompts) {
    if (prompt->kind != PromptKind::kTokenIds) continue;
    if (absl::Status status = CheckIds(prompt->token_ids); !status.ok()) return status;
    prompt->tokens.assign(prompt->token_ids.begin(), prompt->token_ids.end());
  }
  try {
    if (absl::Status status = TokenizeTexts(prompts); !status.ok()) return status;
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("the tokenizer failed: ", OneSentence(error)));
  }
  for (Prompt* prompt : prompts) prompt->length = static_cast<uint32_t>(prompt->tokens.size());
  return absl::OkStatus();
}

absl::Status OpenVinoEngine::TokenizeTexts(std::span<Prompt* const> prompts) {
  std::vector<std::string_view> texts;
  for (const Prompt* prompt : prompts) {
    if (prompt->kind == PromptKind::kText) texts.push_back(prompt->text);
  }
  if (texts.empty()) return absl::OkStatus();
  std::vector<std::vector<int32_t>> tokens = tokenizer_->Tokenize(texts);
  auto next = tokens.begin();
  for (Prompt* prompt : prompts) {
    if (prompt->kind != PromptKind::kText) continue;
    if (next->empty()) return absl::InvalidArgumentError("the text has no tokens, and this model adds none");
    prompt->tokens = std::move(*next++);
  }
  return absl::OkStatus();
}

absl::Status OpenVinoEngine::CheckIds(std::span<const int32_t> ids) const {
  if (ids.empty() || ids.size() > info_.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", ids.size(), " token ids, but 1 to ",
                                                   info_.max_tokens, " are allowed"));
  }
  const uint32_t most = info_.vocabulary > 0 ? info_.vocabulary - 1 : INT32_MAX;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && static_cast<uint32_t>(ids[i]) <= most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the token id at position ", i, " is ", ids[i], ", but 0 to ", most, " are valid"));
  }
  return absl::OkStatus();
}

absl::Status OpenVinoEngine::Run(std::span<Prompt* const> batch) {
  if (batch.empty()) return absl::OkStatus();
  for (const Prompt* prompt : batch) {
    if (prompt->tokens.empty() || prompt->row.size() != info_.dim) {
      return absl::InternalError(
          "a prompt reached the model without tokens, or with a row of another dimension");
    }
  }
  try {
    Infer(batch);
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("OpenVINO failed: ", OneSentence(error)));
  }
}

Packing OpenVinoEngine::Pack(std::span<Prompt* const> batch) const {
  std::vector<uint32_t> lengths;
  lengths.reserve(batch.size());
  for (const Prompt* prompt : batch) lengths.push_back(static_cast<uint32_t>(prompt->tokens.size()));
  return token_cost_ > 0 ? PackPrompts(lengths, token_cost_) : PadPrompts(lengths, info_.max_tokens);
}

void OpenVinoEngine::Infer(std::span<Prompt* const> batch) {
  const Packing packing = Pack(batch);
  for (Input& input : inputs_) {
    if (input.name == "first_tokens") {
      input.tensor.set_shape({(batch.size() + kPromptsTogether - 1) / kPromptsTogether * kPromptsTogether});
    } else {
      input.tensor.set_shape({packing.sequences, packing.length});
    }
    if (input.tensor.get_element_type() == ov::element::i64) {
      FillInput(input.name, batch, packing, std::span(input.tensor.data<int64_t>(), input.tensor.get_size()));
    } else {
      FillInput(input.name, batch, packing, std::span(input.tensor.data<int32_t>(), input.tensor.get_size()));
    }
    request_.set_tensor(input.name, input.tensor);
  }
  request_.infer();
  const float* rows = request_.get_output_tensor(0).data<const float>();
  for (Prompt* prompt : batch) {
    std::memcpy(prompt->row.data(), rows, info_.dim * sizeof(float));
    rows += info_.dim;
  }
}

}  // namespace

std::unique_ptr<Engine> MakeOpenVinoEngine() {
  return std::make_unique<OpenVinoEngine>();
}

}  // namespace zerohop

#include "replica_shim/engines/openvino/bert_graph.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "openvino/opsets/opset13.hpp"
#include "replica_shim/engines/openvino/bert_weights.h"
#include "replica_shim/engines/openvino/embedding_head.h"
#include "replica_shim/engines/openvino/json_file.h"

namespace zerohop {
namespace {

namespace op = ov::opset13;
using Value = ov::Output<ov::Node>;

Value Integers(const std::vector<int64_t>& values) {
  return op::Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
}

Value Scalar(int64_t value) {
  return op::Constant::create(ov::element::i64, ov::Shape{}, {value});
}

// Builds the layers one by one; each method takes and gives [sequences, tokens, hidden].
class BertGraph {
 public:
  BertGraph(const BertConfig& config, const BertWeights& weights) : config_(config), weights_(weights) {}

  Value Embed(const Value& ids, const Value& positions) const {
    const size_t hidden = config_.hidden_size;
    const Value words = Weight("embeddings.word_embeddings.weight", {config_.vocabulary, hidden});
    const Value types = Weight("embeddings.token_type_embeddings.weight", {config_.token_types, hidden});
    const Value places = Weight("embeddings.position_embeddings.weight", {config_.positions, hidden});
    const Value type = std::make_shared<op::Gather>(types, Scalar(0), Scalar(0));
    Value sum = std::make_shared<op::Gather>(words, ids, Scalar(0));
    sum = std::make_shared<op::Add>(sum, type);
    sum = std::make_shared<op::Add>(sum, std::make_shared<op::Gather>(places, positions, Scalar(0)));
    return LayerNorm(sum, "embeddings.LayerNorm");
  }

  Value Layer(const Value& input, const Value& mask, size_t number) const {
    const std::string name = absl::StrCat("encoder.layer.", number);
    const size_t hidden = config_.hidden_size;
    const Value query = Heads(Dense(input, name + ".attention.self.query", hidden, hidden));
    const Value key = Heads(Dense(input, name + ".attention.self.key", hidden, hidden));
    const Value value = Heads(Dense(input, name + ".attention.self.value", hidden, hidden));
    const Value context =
        std::make_shared<op::ScaledDotProductAttention>(query, key, value, mask, /*causal=*/false);
    const Value joined =
        std::make_shared<op::Reshape>(std::make_shared<op::Transpose>(context, Integers({0, 2, 1, 3})),
                                      Integers({0, 0, static_cast<int64_t>(hidden)}), /*special_zero=*/true);
    Value attended = Dense(joined, name + ".attention.output.dense", hidden, hidden);
    attended = LayerNorm(std::make_shared<op::Add>(attended, input), name + ".attention.output.LayerNorm");
    Value wide = Dense(attended, name + ".intermediate.dense", hidden, config_.intermediate_size);
    wide = Activate(wide);
    const Value narrow = Dense(wide, name + ".output.dense", config_.intermediate_size, hidden);
    return LayerNorm(std::make_shared<op::Add>(narrow, attended), name + ".output.LayerNorm");
  }

 private:
  Value Weight(const std::string& name, const ov::Shape& shape) const {
    return weights_.Constant(name, shape);
  }

  Value Dense(const Value& input, const std::string& name, size_t from, size_t to) const {
    const Value product = std::make_shared<op::MatMul>(input, Weight(name + ".weight", {to, from}), false,
                                                       /*transpose_b=*/true);
    return std::make_shared<op::Add>(product, Weight(name + ".bias", {to}));
  }

  Value LayerNorm(const Value& input, const std::string& name) const {
    const Value normal = std::make_shared<op::MVN>(input, Integers({-1}), /*normalize_variance=*/true,
                                                   static_cast<float>(config_.layer_norm_epsilon),
                                                   ov::op::MVNEpsMode::INSIDE_SQRT);
    const Value scaled =
        std::make_shared<op::Multiply>(normal, Weight(name + ".weight", {config_.hidden_size}));
    return std::make_shared<op::Add>(scaled, Weight(name + ".bias", {config_.hidden_size}));
  }

  // [sequences, tokens, hidden] to [sequences, heads, tokens, hidden / heads]
  Value Heads(const Value& input) const {
    const auto heads = static_cast<int64_t>(config_.heads);
    const auto width = static_cast<int64_t>(config_.hidden_size / config_.heads);
    const Value split =
        std::make_shared<op::Reshape>(input, Integers({0, 0, heads, width}), /*special_zero=*/true);
    return std::make_shared<op::Transpose>(split, Integers({0, 2, 1, 3}));
  }

  Value Activate(const Value& input) const {
    if (config_.activation == "relu") return std::make_shared<op::Relu>(input);
    const auto mode = config_.activation == "gelu" ? ov::op::GeluApproximationMode::ERF
                                                   : ov::op::GeluApproximationMode::TANH;
    return std::make_shared<op::Gelu>(input, mode);
  }

  const BertConfig& config_;
  const BertWeights& weights_;
};

}  // namespace

absl::StatusOr<BertConfig> ReadBertConfig(const ModelFolder& folder) {
  const std::string path = folder.transformer + "/config.json";
  const std::string type = JsonString(folder.config, "model_type", "none");
  if (type != "bert") {
    return absl::UnimplementedError(
        absl::StrCat(path, " has the model_type '", type,
                     "', but only 'bert' is built here; export other models with optimum-cli"));
  }
  const std::string positions = JsonString(folder.config, "position_embedding_type", "absolute");
  if (positions != "absolute") {
    return absl::UnimplementedError(
        absl::StrCat(path, " has the position_embedding_type '", positions, "', but 'absolute' is expected"));
  }
  BertConfig config;
  config.activation = JsonString(folder.config, "hidden_act", "gelu");
  if (config.activation == "gelu_pytorch_tanh") config.activation = "gelu_new";
  if (config.activation != "gelu" && config.activation != "gelu_new" && config.activation != "relu") {
    return absl::UnimplementedError(
        absl::StrCat(path, " has the hidden_act '", config.activation,
                     "', but gelu, gelu_new, gelu_pytorch_tanh or relu is expected"));
  }
  const std::pair<const char*, size_t*> numbers[] = {
      {"hidden_size", &config.hidden_size},           {"intermediate_size", &config.intermediate_size},
      {"num_attention_heads", &config.heads},         {"num_hidden_layers", &config.layers},
      {"max_position_embeddings", &config.positions}, {"vocab_size", &config.vocabulary},
      {"type_vocab_size", &config.token_types}};
  constexpr int64_t kMost = 1 << 24;
  for (const auto& [key, value] : numbers) {
    const int64_t number = JsonInteger(folder.config, key, 0);
    if (number < 1 || number > kMost) {
      return absl::InvalidArgumentError(absl::StrCat(path, " gives no ", key, " between 1 and ", kMost));
    }
    *value = static_cast<size_t>(number);
  }
  if (config.hidden_size % config.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has a hidden_size of ", config.hidden_size,
                                                   ", not a multiple of its ", config.heads, " heads"));
  }
  const auto epsilon = folder.config.find("layer_norm_eps");
  if (epsilon != folder.config.end() && epsilon->is_number())
    config.layer_norm_epsilon = epsilon->get<double>();
  return config;
}

absl::StatusOr<std::shared_ptr<ov::Model>> BuildBertGraph(const ModelFolder& folder,
                                                          const BertConfig& config) {
  const std::string path = folder.transformer + "/model.safetensors";
  absl::StatusOr<BertWeights> weights = BertWeights::Open(path);
  if (!weights.ok()) return weights.status();
  const auto input = [](const std::string& name, const ov::PartialShape& shape) {
    auto parameter = std::make_shared<op::Parameter>(ov::element::i32, shape);
    parameter->set_friendly_name(name);
    parameter->output(0).set_names({name});
    return parameter;
  };
  const auto ids = input("input_ids", {-1, -1});
  const auto positions = input("position_ids", {-1, -1});
  const auto prompts = input("prompt_ids", {-1, -1});
  const auto first_tokens = input("first_tokens", {-1});
  try {
    const BertGraph graph(config, *weights);
    // [sequences, 1, tokens, tokens]: in every head a token sees the tokens of its own prompt.
    const Value mask =
        std::make_shared<op::Equal>(std::make_shared<op::Unsqueeze>(prompts, Integers({1, 3})),
                                    std::make_shared<op::Unsqueeze>(prompts, Integers({1, 2})));
    Value hidden = graph.Embed(ids, positions);
    for (size_t layer = 0; layer < config.layers; ++layer) hidden = graph.Layer(hidden, mask, layer);
    Value rows = PoolPackedHiddenStates(hidden, prompts, first_tokens, folder.pooling);
    if (folder.normalize) rows = NormalizeRows(rows);
    return std::make_shared<ov::Model>(ov::OutputVector{rows},
                                       ov::ParameterVector{ids, positions, prompts, first_tokens}, "bert");
  } catch (const std::invalid_argument& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, " ", error.what()));
  }
}

}  // namespace zerohop

#include "tests/replica_shim/openvino/tiny_bert.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "openvino/core/type/bfloat16.hpp"
#include "openvino/core/type/float16.hpp"

namespace zerohop::testing {
namespace {

const std::vector<std::string> kWords = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a",   "##b",
                                         "##c",   "the",   "cat",   "sat",   "on",  "mat",
                                         ".",     "dog",   "ran",   "##ing", "fast"};

// The bytes of one value as stored, and the value that they stand for.
std::string Store(const std::string& dtype, double* value) {
  const auto single = static_cast<float>(*value);
  std::string bytes(dtype == "F32" ? 4 : 2, '\0');
  if (dtype == "F32") {
    *value = single;
    std::memcpy(bytes.data(), &single, 4);
    return bytes;
  }
  const uint16_t bits = dtype == "F16" ? ov::float16(single).to_bits() : ov::bfloat16(single).to_bits();
  *value = dtype == "F16" ? static_cast<float>(ov::float16::from_bits(bits))
                          : static_cast<float>(ov::bfloat16::from_bits(bits));
  std::memcpy(bytes.data(), &bits, 2);
  return bytes;
}

double Activate(const std::string& name, double x) {
  if (name == "relu") return x > 0 ? x : 0;
  if (name == "gelu") return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

}  // namespace

TinyBert::TinyBert(const TinyBertOptions& options) : options_(options) {
  Add("embeddings.word_embeddings.weight", {kWords.size(), kHidden}, 1, 0);
  Add("embeddings.position_embeddings.weight", {kPositions, kHidden}, 0.5, 0);
  Add("embeddings.token_type_embeddings.weight", {2, kHidden}, 0.5, 0);
  Add("embeddings.LayerNorm.weight", {kHidden}, 0.2, 1);
  Add("embeddings.LayerNorm.bias", {kHidden}, 0.2, 0);
  for (size_t layer = 0; layer < kLayers; ++layer) {
    const std::string name = "encoder.layer." + std::to_string(layer) + ".";
    for (const char* part : {"attention.self.query", "attention.self.key", "attention.self.value",
                             "attention.output.dense", "intermediate.dense", "output.dense"}) {
      const bool widens = std::string(part) == "intermediate.dense";
      const bool narrows = std::string(part) == "output.dense";
      Add(name + part + ".weight", {widens ? kWide : kHidden, narrows ? kWide : kHidden}, 0.4, 0);
      Add(name + part + ".bias", {widens ? kWide : kHidden}, 0.2, 0);
    }
    for (const char* part : {"attention.output.LayerNorm", "output.LayerNorm"}) {
      Add(name + part + ".weight", {kHidden}, 0.2, 1);
      Add(name + part + ".bias", {kHidden}, 0.2, 0);
    }
  }
}

void TinyBert::Add(const std::string& name, const std::vector<size_t>& shape, double scale, double offset) {
  std::mt19937 random(options_.seed + static_cast<unsigned>(tensors_.size()));
  std::normal_distribution<double> normal(offset, scale);
  size_t count = 1;
  for (const size_t dimension : shape) count *= dimension;
  Tensor tensor{shape, std::vector<double>(count)};
  for (double& value : tensor.values) {
    value = normal(random);
    Store(options_.dtype, &value);
  }
  tensors_.emplace(name, std::move(tensor));
}

std::string TinyBert::Safetensors() const {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, tensor] : tensors_) {
    const size_t begin = data.size();
    for (double value : tensor.values) data += Store(options_.dtype, &value);
    header[options_.prefix + name] = {
        {"dtype", options_.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + text + data;
}

nlohmann::json TinyBert::Config() const {
  return {{"model_type", "bert"},
          {"hidden_size", kHidden},
          {"num_attention_heads", kHeads},
          {"num_hidden_layers", kLayers},
          {"intermediate_size", kWide},
          {"max_position_embeddings", kPositions},
          {"type_vocab_size", 2},
          {"vocab_size", kWords.size()},
          {"hidden_act", options_.activation},
          {"layer_norm_eps", 1e-12},
          {"position_embedding_type", "absolute"}};
}

void TinyBert::Write(const TemporaryFolder& folder) const {
  folder.Write("config.json", Config());
  folder.Write("model.safetensors", Safetensors());
  folder.Write("tokenizer.json", TokenizerJson(kWords));
  folder.Write("sentence_bert_config.json", {{"max_seq_length", 32}});
  folder.Write("1_Pooling/config.json", {{"pooling_mode_cls_token", options_.pooling == "cls"},
                                         {"pooling_mode_mean_tokens", options_.pooling == "mean"}});
  const std::string types = "sentence_transformers.models.";
  nlohmann::json modules = {{{"path", ""}, {"type", types + "Transformer"}},
                            {{"path", "1_Pooling"}, {"type", types + "Pooling"}}};
  if (options_.normalize) modules.push_back({{"path", "2_Normalize"}, {"type", types + "Normalize"}});
  folder.Write("modules.json", modules);
}

TinyBert::Rows TinyBert::Dense(const Rows& input, const std::string& name) const {
  const std::vector<double>& weight = At(name + ".weight");
  const std::vector<double>& bias = At(name + ".bias");
  Rows output(input.size(), bias);
  for (size_t t = 0; t < input.size(); ++t) {
    for (size_t o = 0; o < bias.size(); ++o) {
      for (size_t i = 0; i < input[t].size(); ++i)
        output[t][o] += input[t][i] * weight[o * input[t].size() + i];
    }
  }
  return output;
}

void TinyBert::Normalize(Rows* rows, const std::string& name) const {
  for (std::vector<double>& row : *rows) {
    double mean = 0;
    double variance = 0;
    for (const double value : row) mean += value / kHidden;
    for (const double value : row) variance += (value - mean) * (value - mean) / kHidden;
    for (size_t i = 0; i < kHidden; ++i) {
      row[i] =
          (row[i] - mean) / std::sqrt(variance + 1e-12) * At(name + ".weight")[i] + At(name + ".bias")[i];
    }
  }
}

TinyBert::Rows TinyBert::Attend(const Rows& input, const std::string& name) const {
  constexpr size_t kWidth = kHidden / kHeads;
  const Rows query = Dense(input, name + "query");
  const Rows key = Dense(input, name + "key");
  const Rows value = Dense(input, name + "value");
  Rows output(input.size(), std::vector<double>(kHidden, 0));
  for (size_t head = 0; head < kHeads; ++head) {
    for (size_t t = 0; t < input.size(); ++t) {
      std::vector<double> weights(input.size());
      double sum = 0;
      for (size_t s = 0; s < input.size(); ++s) {
        double score = 0;
        for (size_t i = head * kWidth; i < (head + 1) * kWidth; ++i) score += query[t][i] * key[s][i];
        weights[s] = std::exp(score / std::sqrt(static_cast<double>(kWidth)));
        sum += weights[s];
      }
      for (size_t s = 0; s < input.size(); ++s) {
        for (size_t i = head * kWidth; i < (head + 1) * kWidth; ++i)
          output[t][i] += weights[s] / sum * value[s][i];
      }
    }
  }
  return output;
}

std::vector<float> TinyBert::Reference(const std::vector<int32_t>& tokens) const {
  const auto add = [](Rows* rows, const Rows& other) {
    for (size_t t = 0; t < rows->size(); ++t) {
      for (size_t i = 0; i < kHidden; ++i) (*rows)[t][i] += other[t][i];
    }
  };
  Rows hidden(tokens.size(), std::vector<double>(kHidden));
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t i = 0; i < kHidden; ++i) {
      hidden[t][i] = At("embeddings.word_embeddings.weight")[static_cast<size_t>(tokens[t]) * kHidden + i] +
                     At("embeddings.position_embeddings.weight")[t * kHidden + i] +
                     At("embeddings.token_type_embeddings.weight")[i];
    }
  }
  Normalize(&hidden, "embeddings.LayerNorm");
  for (size_t layer = 0; layer < kLayers; ++layer) {
    const std::string name = "encoder.layer." + std::to_string(layer) + ".";
    Rows attended = Dense(Attend(hidden, name + "attention.self."), name + "attention.output.dense");
    add(&attended, hidden);
    Normalize(&attended, name + "attention.output.LayerNorm");
    Rows wide = Dense(attended, name + "intermediate.dense");
    for (std::vector<double>& row : wide) {
      for (double& value : row) value = Activate(options_.activation, value);
    }
    hidden = Dense(wide, name + "output.dense");
    add(&hidden, attended);
    Normalize(&hidden, name + "output.LayerNorm");
  }
  std::vector<double> row = hidden[0];
  for (size_t t = 1; t < hidden.size() && options_.pooling == "mean"; ++t) {
    for (size_t i = 0; i < kHidden; ++i) row[i] += hidden[t][i];
  }
  double divisor = options_.pooling == "mean" ? static_cast<double>(hidden.size()) : 1;
  if (options_.normalize) {
    divisor = 0;
    for (const double value : row) divisor += value * value;
    divisor = std::sqrt(divisor);
  }
  std::vector<float> result;
  for (const double value : row) result.push_back(static_cast<float>(value / divisor));
  return result;
}

}  // namespace zerohop::testing

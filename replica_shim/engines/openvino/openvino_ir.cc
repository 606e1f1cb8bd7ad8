#include "replica_shim/engines/openvino/openvino_ir.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "openvino/opsets/opset13.hpp"
#include "replica_shim/engines/openvino/embedding_head.h"
#include "replica_shim/engines/openvino/json_file.h"
#include "replica_shim/engines/openvino/tokenizers_library.h"

namespace zerohop {
namespace {

namespace op = ov::opset13;

bool HasName(const ov::Output<ov::Node>& output, const std::string& name) {
  return output.get_names().contains(name);
}

// The value that the model computes for us: hidden states or finished rows.
ov::Output<ov::Node> ChosenOutput(const std::shared_ptr<ov::Model>& model) {
  const ov::OutputVector outputs = model->outputs();
  for (const char* name : {"sentence_embedding", "last_hidden_state"}) {
    for (const ov::Output<ov::Node>& output : outputs) {
      if (HasName(output, name)) return output.get_node()->input_value(0);
    }
  }
  return outputs.size() == 1 ? outputs[0].get_node()->input_value(0) : ov::Output<ov::Node>();
}

ov::Output<ov::Node> AttentionMask(const std::shared_ptr<ov::Model>& model) {
  for (const auto& parameter : model->get_parameters()) {
    if (HasName(parameter->output(0), "attention_mask")) return parameter->output(0);
  }
  return {};
}

class IrTokenizer : public TextTokenizer {
 public:
  IrTokenizer(ov::InferRequest request, size_t max_tokens)
      : request_(std::move(request)), max_tokens_(max_tokens) {
    const std::string_view probes[] = {"", "a"};
    const std::vector<std::vector<int32_t>> tokens = Untruncated(probes);
    keeps_last_ = !tokens[0].empty() && !tokens[1].empty() && tokens[0].back() == tokens[1].back();
  }

  std::vector<std::vector<int32_t>> Tokenize(std::span<const std::string_view> texts) override {
    std::vector<std::vector<int32_t>> tokens = Untruncated(texts);
    for (std::vector<int32_t>& ids : tokens) {
      if (ids.size() <= max_tokens_) continue;
      const int32_t last = ids.back();
      ids.resize(max_tokens_);
      if (keeps_last_) ids.back() = last;
    }
    return tokens;
  }

 private:
  std::vector<std::vector<int32_t>> Untruncated(std::span<const std::string_view> texts) {
    ov::Tensor input(ov::element::string, ov::Shape{texts.size()});
    std::copy(texts.begin(), texts.end(), input.data<std::string>());
    request_.set_input_tensor(input);
    request_.infer();
    const ov::Tensor ids = request_.get_tensor("input_ids");
    const ov::Tensor mask = request_.get_tensor("attention_mask");
    const size_t length = ids.get_shape().at(1);
    std::vector<std::vector<int32_t>> tokens(texts.size());
    for (size_t i = 0; i < texts.size() * length; ++i) {
      if (mask.data<const int64_t>()[i] == 0) continue;
      tokens[i / length].push_back(static_cast<int32_t>(ids.data<const int64_t>()[i]));
    }
    return tokens;
  }

  ov::InferRequest request_;
  const size_t max_tokens_;
  bool keeps_last_ = false;
};

}  // namespace

absl::StatusOr<std::shared_ptr<ov::Model>> ReadIrGraph(ov::Core& core, const ModelFolder& folder) {
  const std::string path = folder.transformer + "/openvino_model.xml";
  const std::shared_ptr<ov::Model> model = core.read_model(path);
  for (const ov::Output<ov::Node>& input : model->inputs()) {
    bool known = false;
    for (const char* name : {"input_ids", "attention_mask", "token_type_ids", "position_ids"}) {
      known = known || HasName(input, name);
    }
    const ov::element::Type type = input.get_element_type();
    if (!known || (type != ov::element::i64 && type != ov::element::i32)) {
      return absl::UnimplementedError(absl::StrCat(path, " has the input '", input.get_any_name(),
                                                   "' of type ", type.get_type_name(),
                                                   ", which is not one of a text encoder"));
    }
  }
  ov::Output<ov::Node> rows = ChosenOutput(model);
  const ov::Output<ov::Node> mask = AttentionMask(model);
  if (rows.get_node() == nullptr || mask.get_node() == nullptr ||
      rows.get_partial_shape().rank().is_dynamic()) {
    return absl::UnimplementedError(
        absl::StrCat(path, " has no attention_mask or no output sentence_embedding or last_hidden_state"));
  }
  rows = std::make_shared<op::Convert>(rows, ov::element::f32);
  const int64_t rank = rows.get_partial_shape().rank().get_length();
  if (rank == 3) {
    rows = PoolHiddenStates(rows, mask, folder.pooling);
    if (folder.normalize) rows = NormalizeRows(rows);
  } else if (rank != 2) {
    return absl::UnimplementedError(
        absl::StrCat(path, " has an output of rank ", rank, ", but 2 or 3 is expected"));
  }
  return std::make_shared<ov::Model>(ov::OutputVector{rows}, model->get_parameters(), "embedding");
}

size_t IrMaxTokens(const ModelFolder& folder) {
  if (folder.max_seq_length > 0) return folder.max_seq_length;
  constexpr int64_t kDefault = 512;
  constexpr int64_t kMost = 1 << 20;  // some files say 1e30 for "no limit"
  int64_t most = JsonInteger(folder.config, "max_position_embeddings", kMost);
  const std::string path = folder.transformer + "/tokenizer_config.json";
  if (FileExists(path)) {
    const absl::StatusOr<nlohmann::json> file = ReadJsonFile(path);
    if (file.ok()) most = std::min(most, JsonInteger(*file, "model_max_length", kMost));
  }
  return static_cast<size_t>(most > 0 && most < kMost ? most : kDefault);
}

absl::StatusOr<std::unique_ptr<TextTokenizer>> MakeIrTokenizer(ov::Core& core, const ModelFolder& folder,
                                                               size_t max_tokens) {
  const std::string path = folder.transformer + "/openvino_tokenizer.xml";
  const std::string library = TokenizersLibraryPath();
  if (!FileExists(library)) {
    return absl::NotFoundError(absl::StrCat("there is no OpenVINO Tokenizers library ", library));
  }
  core.add_extension(library);
  ov::CompiledModel model = core.compile_model(core.read_model(path), "CPU", ov::inference_num_threads(1));
  for (const char* name : {"input_ids", "attention_mask"}) {
    const auto& outputs = model.outputs();
    const auto found = std::find_if(outputs.begin(), outputs.end(),
                                    [name](const auto& output) { return output.get_names().contains(name); });
    if (found == outputs.end() || found->get_element_type() != ov::element::i64) {
      return absl::InvalidArgumentError(absl::StrCat(path, " has no 64-bit output ", name));
    }
  }
  return std::make_unique<IrTokenizer>(model.create_infer_request(), max_tokens);
}

}  // namespace zerohop

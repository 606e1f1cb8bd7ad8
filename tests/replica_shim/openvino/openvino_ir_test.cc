// Folders with openvino_model.xml and openvino_tokenizer.xml. The model is a table
// of embeddings, the tokenizer takes bytes modulo the table's size, so that the
// expected row can be written down; both are serialised as optimum-cli does it.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "openvino/core/graph_util.hpp"
#include "openvino/core/op_extension.hpp"
#include "openvino/openvino.hpp"
#include "openvino/opsets/opset15.hpp"
#include "replica_shim/engines/openvino/openvino_engine.h"
#include "replica_shim/engines/openvino/tokenizers_library.h"
#include "tests/replica_shim/openvino/model_support.h"

namespace zerohop {
namespace {

namespace op = ov::opset15;
using testing::Embed;
using testing::Embedded;
using testing::TemporaryFolder;

constexpr size_t kVocabulary = 17;
constexpr size_t kDim = 4;

float TableValue(size_t id, size_t i) {
  return std::sin(static_cast<float>(id * kDim + i + 1));
}

// The library's defaults are what this graph needs.
class NoAttributes : public ov::AttributeVisitor {
 public:
  void on_adapter(const std::string&, ov::ValueAccessor<void>&) override {}
};

ov::OutputVector RaggedToDense(const ov::OutputVector& inputs) {
  void* library = dlopen(TokenizersLibraryPath().c_str(), RTLD_NOW);
  using CreateExtensions = void (*)(std::vector<ov::Extension::Ptr>&);
  std::vector<ov::Extension::Ptr> extensions;
  reinterpret_cast<CreateExtensions>(dlsym(library, "create_extensions"))(extensions);
  for (const ov::Extension::Ptr& extension : extensions) {
    const auto operation = std::dynamic_pointer_cast<ov::BaseOpExtension>(extension);
    if (operation == nullptr || std::string(operation->get_type_info().name) != "RaggedToDense") continue;
    NoAttributes attributes;
    return operation->create(inputs, attributes);
  }
  return {};
}

void WriteTokenizer(const TemporaryFolder& folder) {
  const auto texts = std::make_shared<op::Parameter>(ov::element::string, ov::PartialShape{-1});
  const auto parts = std::make_shared<op::StringTensorUnpack>(texts);
  const auto sizes = std::make_shared<op::Subtract>(parts->output(1), parts->output(0));
  const auto longest =
      std::make_shared<op::ReduceMax>(sizes, op::Constant::create(ov::element::i64, {1}, {0}), false);
  const auto bytes = std::make_shared<op::Convert>(parts->output(2), ov::element::i32);
  const auto ids =
      std::make_shared<op::Mod>(bytes, op::Constant::create(ov::element::i32, {}, {kVocabulary}));
  const auto padding = op::Constant::create(ov::element::i32, {}, {0});
  ov::OutputVector dense = RaggedToDense({parts->output(0), parts->output(1), ids, longest, padding});
  ASSERT_EQ(dense.size(), 2U);
  ov::OutputVector outputs;
  for (const char* name : {"input_ids", "attention_mask"}) {
    outputs.push_back(std::make_shared<op::Convert>(dense[outputs.size()], ov::element::i64));
    outputs.back().set_names({name});
  }
  ov::serialize(std::make_shared<ov::Model>(outputs, ov::ParameterVector{texts}),
                folder.path() + "/openvino_tokenizer.xml");
}

// Outputs: `pooler_output`, which nobody asked for, and one named `output`, made from the hidden states.
void WriteModel(const TemporaryFolder& folder, const std::string& output,
                const std::function<ov::Output<ov::Node>(ov::Output<ov::Node>)>& finish) {
  ov::ParameterVector inputs;
  for (const char* name : {"input_ids", "attention_mask", "token_type_ids", "position_ids"}) {
    inputs.push_back(std::make_shared<op::Parameter>(ov::element::i64, ov::PartialShape{-1, -1}));
    inputs.back()->output(0).set_names({name});
  }
  std::vector<float> table;
  for (size_t id = 0; id < kVocabulary; ++id) {
    for (size_t i = 0; i < kDim; ++i) table.push_back(TableValue(id, i));
  }
  const auto zero = op::Constant::create(ov::element::i64, {}, {0});
  const auto words = std::make_shared<op::Gather>(
      op::Constant::create(ov::element::f32, ov::Shape{kVocabulary, kDim}, table), inputs[0], zero);
  // Types and positions change the result if they are not what they should be: 0, and 0, 1, 2 ...
  const auto types =
      std::make_shared<op::Unsqueeze>(std::make_shared<op::Convert>(inputs[2], ov::element::f32),
                                      op::Constant::create(ov::element::i64, {1}, {2}));
  const auto positions =
      std::make_shared<op::Unsqueeze>(std::make_shared<op::Convert>(inputs[3], ov::element::f32),
                                      op::Constant::create(ov::element::i64, {1}, {2}));
  const ov::Output<ov::Node> hidden =
      std::make_shared<op::Add>(std::make_shared<op::Add>(words, types), positions);
  ov::Output<ov::Node> pooler =
      std::make_shared<op::Gather>(hidden, zero, op::Constant::create(ov::element::i64, {}, {1}));
  pooler.set_names({"pooler_output"});
  ov::Output<ov::Node> rows = finish(hidden);
  rows.set_names({output});
  ov::serialize(std::make_shared<ov::Model>(ov::OutputVector{pooler, rows}, inputs),
                folder.path() + "/openvino_model.xml");
}

// Hidden state of each token: the table's row plus the position.
std::vector<std::vector<float>> Hidden(const std::string& text) {
  std::vector<std::vector<float>> hidden;
  for (const char byte : text) {
    std::vector<float>& row = hidden.emplace_back();
    for (size_t i = 0; i < kDim; ++i) {
      row.push_back(TableValue(static_cast<uint8_t>(byte) % kVocabulary, i) +
                    static_cast<float>(hidden.size() - 1));
    }
  }
  return hidden;
}

std::vector<float> Mean(const std::string& text) {
  std::vector<float> mean(kDim, 0);
  for (const std::vector<float>& row : Hidden(text)) {
    for (size_t i = 0; i < kDim; ++i) mean[i] += row[i] / static_cast<float>(text.size());
  }
  return mean;
}

const auto kAsItIs = [](ov::Output<ov::Node> hidden) { return hidden; };

TEST(OpenVinoIr, HiddenStatesAreMeanPooledWhenTheFolderSaysNothing) {
  const TemporaryFolder folder;
  WriteTokenizer(folder);
  WriteModel(folder, "last_hidden_state", kAsItIs);
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(folder.path(), "float32"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->dim, kDim);
  EXPECT_EQ(info->max_tokens, 512U);
  EXPECT_EQ(info->vocabulary, 0U);
  const std::vector<std::string> texts = {"one", "a longer text", "x"};
  const Embedded got = Embed(*engine, kDim, texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(got.tokens[i].size(), texts[i].size());
    EXPECT_LE(testing::LargestDifference(got.rows[i], Mean(texts[i])), 1e-4) << texts[i];
  }
}

TEST(OpenVinoIr, FolderDecidesPoolingNormalizeAndLimits) {
  const TemporaryFolder folder;
  WriteTokenizer(folder);
  WriteModel(folder, "last_hidden_state", kAsItIs);
  folder.Write("config.json", {{"vocab_size", kVocabulary}, {"max_position_embeddings", 64}});
  folder.Write("sentence_bert_config.json", {{"max_seq_length", 8}});
  folder.Write("1_Pooling/config.json", {{"pooling_mode_cls_token", true}});
  folder.Write("modules.json",
               {{{"path", ""}, {"type", "sentence_transformers.models.Transformer"}},
                {{"path", "1_Pooling"}, {"type", "sentence_transformers.models.Pooling"}},
                {{"path", "2_Normalize"}, {"type", "sentence_transformers.models.Normalize"}}});
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(folder.path(), "float32"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->max_tokens, 8U);
  EXPECT_EQ(info->vocabulary, kVocabulary);
  const Embedded got = Embed(*engine, kDim, {"a text of more than eight bytes"});
  EXPECT_EQ(got.tokens[0].size(), 8U);
  std::vector<float> expected = Hidden("a")[0];
  float norm = 0;
  for (const float value : expected) norm += value * value;
  for (float& value : expected) value /= std::sqrt(norm);
  EXPECT_LE(testing::LargestDifference(got.rows[0], expected), 1e-5);
  EXPECT_FALSE(testing::TokenizeIds(*engine, {static_cast<int32_t>(kVocabulary)}).ok());
}

TEST(OpenVinoIr, FinishedRowsAreTakenAsTheyAre) {
  const TemporaryFolder folder;
  WriteTokenizer(folder);
  WriteModel(folder, "sentence_embedding", [](ov::Output<ov::Node> hidden) -> ov::Output<ov::Node> {
    return std::make_shared<op::ReduceMax>(hidden, op::Constant::create(ov::element::i64, {1}, {1}), false);
  });
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  const auto info = engine->Load(testing::OptionsFor(folder.path(), "float32"));
  ASSERT_TRUE(info.ok()) << info.status();
  const Embedded got = Embed(*engine, kDim, {"word"});
  const std::vector<std::vector<float>> hidden = Hidden("word");
  std::vector<float> expected = hidden[0];
  for (const std::vector<float>& row : hidden) {
    for (size_t i = 0; i < kDim; ++i) expected[i] = std::max(expected[i], row[i]);
  }
  EXPECT_LE(testing::LargestDifference(got.rows[0], expected), 1e-5);
}

TEST(OpenVinoIr, TextWithoutTokensIsAnErrorAndNotACrash) {
  const TemporaryFolder folder;
  WriteTokenizer(folder);
  WriteModel(folder, "last_hidden_state", kAsItIs);
  const std::unique_ptr<Engine> engine = MakeOpenVinoEngine();
  ASSERT_TRUE(engine->Load(testing::OptionsFor(folder.path(), "float32")).ok());
  Prompt prompt;
  Prompt* const batch[] = {&prompt};
  EXPECT_EQ(engine->Tokenize(batch).code(), absl::StatusCode::kInvalidArgument);
}

TEST(OpenVinoIr, BrokenFilesAreErrorsThatNameTheFolder) {
  for (const char* file : {"openvino_model.xml", "openvino_tokenizer.xml", "openvino_model.bin"}) {
    const TemporaryFolder folder;
    WriteTokenizer(folder);
    WriteModel(folder, "last_hidden_state", kAsItIs);
    folder.Write(file, std::string("<net"));
    const absl::Status status =
        MakeOpenVinoEngine()->Load(testing::OptionsFor(folder.path(), "float32")).status();
    EXPECT_FALSE(status.ok()) << file;
    EXPECT_NE(std::string(status.message()).find(folder.path()), std::string::npos) << status;
    EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace zerohop

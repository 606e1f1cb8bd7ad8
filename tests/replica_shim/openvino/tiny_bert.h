#pragma once

// TinyBert: a random BertModel in a folder, and a plain forward pass to compare with.
// The reference is written from the model's definition, in double, one prompt at
// a time and without padding; it shares no code with the engine.

#include <map>
#include <string>
#include <vector>

#include "tests/replica_shim/openvino/model_support.h"

namespace zerohop::testing {

struct TinyBertOptions {
  std::string pooling = "cls";  // cls | mean
  bool normalize = false;
  std::string dtype = "F32";  // F32 | F16 | BF16: how the weights are stored
  std::string prefix;         // of tensor names
  std::string activation = "gelu";
  unsigned seed = 1;
};

class TinyBert {
 public:
  static constexpr size_t kHidden = 16;
  static constexpr size_t kHeads = 2;
  static constexpr size_t kWide = 32;
  static constexpr size_t kLayers = 2;
  static constexpr size_t kPositions = 40;

  explicit TinyBert(const TinyBertOptions& options);

  // Writes all files; a test may overwrite some to break the folder.
  void Write(const TemporaryFolder& folder) const;
  std::string Safetensors() const;
  nlohmann::json Config() const;

  std::vector<float> Reference(const std::vector<int32_t>& tokens) const;

 private:
  struct Tensor {
    std::vector<size_t> shape;
    std::vector<double> values;  // as they are after rounding to the stored dtype
  };
  using Rows = std::vector<std::vector<double>>;

  void Add(const std::string& name, const std::vector<size_t>& shape, double scale, double offset);
  const std::vector<double>& At(const std::string& name) const { return tensors_.at(name).values; }
  Rows Dense(const Rows& input, const std::string& name) const;
  void Normalize(Rows* rows, const std::string& name) const;
  Rows Attend(const Rows& input, const std::string& name) const;

  const TinyBertOptions options_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace zerohop::testing

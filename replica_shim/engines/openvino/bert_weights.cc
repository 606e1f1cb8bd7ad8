#include "replica_shim/engines/openvino/bert_weights.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "openvino/core/type/bfloat16.hpp"
#include "openvino/core/type/float16.hpp"

namespace zerohop {
namespace {

using ConstantNode = ov::op::v0::Constant;

template <typename Half>
std::shared_ptr<ConstantNode> Widen(const TensorView& tensor, const ov::Shape& shape) {
  std::vector<float> values(tensor.bytes.size() / sizeof(uint16_t));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, tensor.bytes.data() + i * sizeof(bits), sizeof(bits));
    values[i] = static_cast<float>(Half::from_bits(bits));
  }
  return ConstantNode::create(ov::element::f32, shape, values);
}

}  // namespace

absl::StatusOr<BertWeights> BertWeights::Open(const std::string& path) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<TensorMap> tensors = ParseSafetensors((*file)->bytes());
  if (!tensors.ok()) {
    return absl::Status(tensors.status().code(),
                        absl::StrCat(path, " is not a valid safetensors file: ", tensors.status().message()));
  }
  return BertWeights(*std::move(file), *std::move(tensors));
}

BertWeights::BertWeights(std::shared_ptr<const MappedFile> file, TensorMap tensors)
    : file_(std::move(file)), tensors_(std::move(tensors)) {
  if (tensors_.contains("bert.embeddings.word_embeddings.weight")) prefix_ = "bert.";
}

std::shared_ptr<ConstantNode> BertWeights::Constant(const std::string& name, const ov::Shape& shape) const {
  const auto found = tensors_.find(prefix_ + name);
  if (found == tensors_.end()) throw std::invalid_argument(absl::StrCat("has no tensor ", prefix_, name));
  const TensorView& tensor = found->second;
  if (tensor.shape != static_cast<const std::vector<size_t>&>(shape)) {
    throw std::invalid_argument(
        absl::StrCat("has the tensor ", prefix_, name, " with shape [", absl::StrJoin(tensor.shape, ", "),
                     "], but config.json asks for [", absl::StrJoin(shape, ", "), "]"));
  }
  if (tensor.dtype == "F16") return Widen<ov::float16>(tensor, shape);
  if (tensor.dtype == "BF16") return Widen<ov::bfloat16>(tensor, shape);
  if (tensor.dtype != "F32") {
    throw std::invalid_argument(absl::StrCat("has the tensor ", prefix_, name, " in dtype ", tensor.dtype,
                                             ", but F32, F16 or BF16 is expected"));
  }
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignof(float) != 0) {
    return std::make_shared<ConstantNode>(ov::element::f32, shape, tensor.bytes.data());  // copies
  }
  return std::make_shared<ConstantNode>(ov::element::f32, shape, tensor.bytes.data(),
                                        std::const_pointer_cast<MappedFile>(file_));
}

}  // namespace zerohop

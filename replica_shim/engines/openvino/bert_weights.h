#pragma once

// BertWeights: the tensors of a BertModel by name, as constants of a graph.
//
// Constants point into the mapped file where it holds float32 at the right
// alignment, and keep the mapping alive. Names may carry a `bert.` prefix, as
// files of BertForMaskedLM do.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "openvino/op/constant.hpp"
#include "replica_shim/engines/openvino/mapped_file.h"
#include "replica_shim/engines/openvino/safetensors.h"

namespace zerohop {

class BertWeights {
 public:
  static absl::StatusOr<BertWeights> Open(const std::string& path);

  // Throws std::invalid_argument with a sentence when there is no such tensor,
  // or when its shape or dtype does not fit.
  std::shared_ptr<ov::op::v0::Constant> Constant(const std::string& name, const ov::Shape& shape) const;

 private:
  BertWeights(std::shared_ptr<const MappedFile> file, TensorMap tensors);

  std::shared_ptr<const MappedFile> file_;
  TensorMap tensors_;  // views into file_
  std::string prefix_;
};

}  // namespace zerohop

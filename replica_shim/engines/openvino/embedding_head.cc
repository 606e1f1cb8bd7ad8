#include "replica_shim/engines/openvino/embedding_head.h"

#include "openvino/opsets/opset13.hpp"

namespace zerohop {

namespace op = ov::opset13;

namespace {

ov::Output<ov::Node> Integer(int64_t value) {
  return op::Constant::create(ov::element::i64, ov::Shape{1}, {value});
}

ov::Output<ov::Node> AtLeast(const ov::Output<ov::Node>& value, float least) {
  return std::make_shared<op::Maximum>(value, op::Constant::create(ov::element::f32, ov::Shape{1}, {least}));
}

}  // namespace

ov::Output<ov::Node> PoolHiddenStates(const ov::Output<ov::Node>& hidden, const ov::Output<ov::Node>& mask,
                                      Pooling pooling) {
  const auto tokens_axis = Integer(1);
  if (pooling == Pooling::kCls) {
    return std::make_shared<op::Gather>(hidden, op::Constant::create(ov::element::i64, ov::Shape{}, {0}),
                                        tokens_axis);
  }
  const auto weights =
      std::make_shared<op::Unsqueeze>(std::make_shared<op::Convert>(mask, ov::element::f32), Integer(2));
  const auto sum =
      std::make_shared<op::ReduceSum>(std::make_shared<op::Multiply>(hidden, weights), tokens_axis);
  const auto count = std::make_shared<op::ReduceSum>(weights, tokens_axis);
  return std::make_shared<op::Divide>(sum, AtLeast(count, 1e-9F));
}

ov::Output<ov::Node> PoolPackedHiddenStates(const ov::Output<ov::Node>& hidden,
                                            const ov::Output<ov::Node>& prompts,
                                            const ov::Output<ov::Node>& first_tokens, Pooling pooling) {
  const int64_t dim = hidden.get_partial_shape()[2].get_length();
  const auto scalar = op::Constant::create(ov::element::i64, ov::Shape{}, {0});
  const auto tokens = std::make_shared<op::Reshape>(
      hidden, op::Constant::create(ov::element::i64, ov::Shape{2}, {int64_t{-1}, dim}), false);
  if (pooling == Pooling::kCls) return std::make_shared<op::Gather>(tokens, first_tokens, scalar);
  // [prompts, all tokens]: 1 where the token is the prompt's.
  const auto prompt_of_token = std::make_shared<op::Reshape>(prompts, Integer(-1), false);
  const auto own = std::make_shared<op::Unsqueeze>(
      std::make_shared<op::Gather>(prompt_of_token, first_tokens, scalar), Integer(1));
  const auto weights = std::make_shared<op::Convert>(
      std::make_shared<op::Equal>(own, std::make_shared<op::Unsqueeze>(prompt_of_token, Integer(0))),
      ov::element::f32);
  const auto sum = std::make_shared<op::MatMul>(weights, tokens);
  return std::make_shared<op::Divide>(sum, std::make_shared<op::ReduceSum>(weights, Integer(1), true));
}

ov::Output<ov::Node> NormalizeRows(const ov::Output<ov::Node>& rows) {
  const auto norm = std::make_shared<op::ReduceL2>(rows, Integer(1), /*keep_dims=*/true);
  return std::make_shared<op::Divide>(rows, AtLeast(norm, 1e-12F));
}

}  // namespace zerohop

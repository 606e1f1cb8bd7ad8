#include "bench/no_hop_answer.h"

#include <algorithm>

namespace zerohop::bench {
namespace {

// A larger answer names the buffer several times.
constexpr int kRowsInBuffer = 256;

std::string MakeRows(int dim, int count) {
  std::string floats;
  for (int i = 0; i < dim; ++i) {
    const float value = 1.0f / static_cast<float>(i + 1);
    floats.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string rows;
  for (int i = 0; i < count; ++i) AppendField(4, floats, rows);
  return rows;
}

}  // namespace

NoHopAnswer::NoHopAnswer(int dim)
    : dim_(dim), row_bytes_(MakeRows(dim, 1).size()), rows_(MakeRows(dim, kRowsInBuffer)) {}

grpc::Status NoHopAnswer::Compose(const grpc::ByteBuffer& request, grpc::ByteBuffer& answer) const {
  RequestShape shape;
  grpc::Slice whole;
  bool scanned = false;
  if (request.TrySingleSlice(&whole).ok()) {  // the usual case, without a vector
    scanned = ScanRequest({&whole, 1}, shape);
  } else {
    std::vector<grpc::Slice> slices;
    scanned = request.Dump(&slices).ok() && ScanRequest(slices, shape);
  }
  if (!scanned) return {grpc::StatusCode::INVALID_ARGUMENT, "not an EncodeRequest"};

  std::string header;
  AppendField(1, shape.request_id, header);
  AppendInt(2, shape.n_prompts, header);
  AppendInt(3, dim_, header);
  const grpc::Slice header_slice(header);  // up to 23 bytes lie inside the slice itself
  const auto rows_of = [&](int count) {
    return grpc::Slice(rows_.data(), row_bytes_ * static_cast<size_t>(count), grpc::Slice::STATIC_SLICE);
  };
  if (shape.n_prompts <= kRowsInBuffer) {
    const grpc::Slice slices[] = {header_slice, rows_of(std::max(shape.n_prompts, 0))};
    answer = grpc::ByteBuffer(slices, 2);
    return grpc::Status::OK;
  }
  std::vector<grpc::Slice> slices = {header_slice};
  for (int left = shape.n_prompts; left > 0; left -= kRowsInBuffer) {
    slices.push_back(rows_of(std::min(left, kRowsInBuffer)));
  }
  answer = grpc::ByteBuffer(slices.data(), slices.size());
  return grpc::Status::OK;
}

}  // namespace zerohop::bench

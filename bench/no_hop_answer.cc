#include "bench/no_hop_answer.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include "broker/front/row_frame.h"
#include "replica_shim/engines/echo_engine.h"

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

NoHopAnswer::NoHopAnswer(int dim, RowSource source)
    : dim_(dim), source_(source), row_bytes_(MakeRows(dim, 1).size()), rows_(MakeRows(dim, kRowsInBuffer)) {}

// Memory that gRPC frees once it is sent.
grpc::Slice NoHopAnswer::OwnRows(size_t count) const {
  const auto dim = static_cast<uint32_t>(dim_);
  const size_t row_bytes = source_ == RowSource::kComputed ? kRowFrameBytes + RowBytes(dim) : row_bytes_;
  grpc_slice slice = grpc_slice_malloc(count * row_bytes);
  auto* row = reinterpret_cast<std::byte*>(GRPC_SLICE_START_PTR(slice));
  if (source_ == RowSource::kComputed) {
    static constexpr std::string_view kText = "these characters are forty, not a single";
    const auto frame = RowFrame(dim);
    for (size_t i = 0; i < count; ++i, row += row_bytes) {
      std::memcpy(row, frame.data(), frame.size());
      FillEchoRow(std::as_bytes(std::span(kText)), {reinterpret_cast<float*>(row + kRowFrameBytes), dim});
    }
  } else {
    for (size_t left = count; left > 0;) {
      const size_t some = std::min<size_t>(left, kRowsInBuffer);
      std::memcpy(row, rows_.data(), some * row_bytes);
      row += some * row_bytes;
      left -= some;
    }
  }
  return {slice, grpc::Slice::STEAL_REF};
}

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
  if (source_ != RowSource::kStatic) {
    const grpc::Slice slices[] = {header_slice, OwnRows(static_cast<size_t>(std::max(shape.n_prompts, 0)))};
    answer = grpc::ByteBuffer(slices, 2);
    return grpc::Status::OK;
  }
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

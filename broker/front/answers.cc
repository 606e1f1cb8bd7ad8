#include "broker/front/answers.h"

#include <grpcpp/support/slice.h>

#include <memory>

#include "absl/container/inlined_vector.h"
#include "broker/front/recycled.h"
#include "broker/front/row_frame.h"
#include "inference.pb.h"

namespace zerohop {
namespace {

// With an id as usual, a UUID, it needs no memory of its own.
using HeaderText = absl::InlinedVector<char, 96>;

void AppendVarint(uint64_t value, HeaderText* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Fields 1 to 3, and the frame of the first row.
HeaderText HeaderOf(std::string_view request_id, int32_t n_prompts, uint32_t dim) {
  HeaderText header;
  header.push_back(0x0a);
  AppendVarint(request_id.size(), &header);
  header.insert(header.end(), request_id.begin(), request_id.end());
  header.push_back(0x10);
  AppendVarint(static_cast<uint64_t>(n_prompts), &header);
  header.push_back(0x18);
  AppendVarint(dim, &header);
  const auto frame = RowFrame(dim);
  header.insert(header.end(), frame.begin(), frame.end());
  return header;
}

// What gRPC holds of an answer's rows.
struct SentRows final : Recycled<SentRows> {
  explicit SentRows(RowBlock block) : rows(std::move(block)) {}
  const RowBlock rows;
};

grpc::Slice SliceOver(RowBlock rows) {
  auto* sent = new SentRows(std::move(rows));
  const auto bytes = sent->rows.bytes();
  // gRPC reads the bytes and never writes them; its slice type knows no const.
  auto* data = const_cast<std::byte*>(bytes.data());
  return {grpc_slice_new_with_user_data(
              data, bytes.size(), [](void* owner) { delete static_cast<SentRows*>(owner); }, sent),
          grpc::Slice::STEAL_REF};
}

// A header and the floats of one row fit.
using SliceList = absl::InlinedVector<grpc_slice, 2>;

// The slice as gRPC's C functions take it, without a reference of its own.
grpc_slice Borrow(const grpc::Slice& slice) {
  const grpc_slice borrowed = slice.c_slice();  // with one
  grpc_slice_unref(borrowed);
  return borrowed;
}

// The floats from where the engine wrote them; what frames them from our own memory, so that a replica which
// writes to rows that it has completed can damage their floats, but not the message.
void AppendRows(const grpc_slice& block, uint32_t dim, SliceList* slices) {
  static_assert(kRowFrameBytes <= GRPC_SLICE_INLINED_SIZE, "the slice holds it itself, and needs no owner");
  const auto bytes = RowFrame(dim);
  const grpc_slice frame =
      grpc_slice_from_copied_buffer(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (size_t at = 0; at < GRPC_SLICE_LENGTH(block); at += RowBytes(dim)) {
    // The first row's is in HeaderOf.
    if (slices->size() > 1) slices->push_back(frame);
    slices->push_back(grpc_slice_sub_no_ref(block, at, at + RowBytes(dim)));
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const Answer& answer) {
  return ToGrpcStatus(StatusOf(answer));
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  // The two enumerations are the same by definition.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// ByteBuffer's constructor takes C++ slices, which are C slices by gRPC's own assertion.
Reply::Reply(std::span<const grpc_slice> slices)
    : bytes_(reinterpret_cast<const grpc::Slice*>(slices.data()), slices.size()) {}

Reply FrameEmbeddings(std::string_view request_id, int32_t n_prompts, Answer answer) {
  const HeaderText text = HeaderOf(request_id, n_prompts, answer.dim);
  const grpc::Slice header(text.data(), text.size());
  absl::InlinedVector<grpc::Slice, 1> blocks;
  blocks.reserve(answer.rows.size());
  // Borrowed from the two above: one reference a slice, taken by Reply, is one atomic addition.
  SliceList slices;
  slices.reserve(2 * static_cast<size_t>(n_prompts));
  slices.push_back(Borrow(header));
  for (RowBlock& rows : answer.rows) {
    blocks.push_back(SliceOver(std::move(rows)));
    AppendRows(Borrow(blocks.back()), answer.dim, &slices);
  }
  return Reply(slices);
}

Reply FrameError(std::string_view request_id, const std::string& error) {
  arctic_inference::EncodeResponse response;
  response.set_request_id(std::string(request_id));
  response.set_error(error);
  const grpc::Slice slice(response.SerializeAsString());
  const grpc_slice borrowed = Borrow(slice);
  return Reply({&borrowed, 1});
}

}  // namespace zerohop

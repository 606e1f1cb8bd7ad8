#pragma once

// Answers: what becomes of an outcome on the wire of gRPC. What callers rely on: docs/wire.md.

#include <grpc/slice.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "broker/router/ticket.h"

namespace zerohop {

// OK for kEmbedded.
grpc::Status ToGrpcStatus(const Answer& answer);
grpc::Status ToGrpcStatus(const absl::Status& status);

// An EncodeResponse, ready for the wire. gRPC takes its slices when it sends it; of a ByteBuffer it would
// make a copy first, which costs a large answer two more passes over some thousands of slices.
class Reply {
 public:
  // Takes a reference to each slice.
  explicit Reply(std::span<const grpc_slice> slices);
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  const grpc::ByteBuffer& bytes() const { return bytes_; }
  // For gRPC, which serializes a message once, and has it const.
  void MoveTo(grpc::ByteBuffer* out) const { out->Swap(&bytes_); }

 private:
  mutable grpc::ByteBuffer bytes_;
};

// Around rows that stay where they are: for each row a slice that holds its frame and a slice over its
// floats. A block goes when gRPC drops the last of its slices.
Reply FrameEmbeddings(std::string_view request_id, int32_t n_prompts, Answer answer);

// With `error` set, as the contract wants for requests that name another model or miscount their prompts.
Reply FrameError(std::string_view request_id, const std::string& error);

}  // namespace zerohop

template <>
class grpc::SerializationTraits<zerohop::Reply> {
 public:
  static grpc::Status Serialize(const zerohop::Reply& reply, grpc::ByteBuffer* out, bool* out_is_own) {
    reply.MoveTo(out);
    *out_is_own = true;
    return grpc::Status::OK;
  }
};

#pragma once

// Answers: the one place that turns an outcome into what a gRPC client sees.
// What callers rely on: docs/wire.md.

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "broker/router/ticket.h"

namespace zerohop {

// OK for kEmbedded.
grpc::Status ToGrpcStatus(const Answer& answer);
grpc::Status ToGrpcStatus(const absl::Status& status);

// An EncodeResponse around rows that stay where they are: a slice with the
// header, then one slice for each block, which releases it when gRPC drops it.
grpc::ByteBuffer FrameEmbeddings(const std::string& request_id, int32_t n_prompts, Answer answer);

// An EncodeResponse with `error` set, as the contract wants for requests that
// name another model or miscount their prompts.
grpc::ByteBuffer FrameError(const std::string& request_id, const std::string& error);

}  // namespace zerohop

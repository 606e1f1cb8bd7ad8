#pragma once

// NoHopAnswer: the cheapest right answer to an Encode request: a header slice
// with the request's id, then rows out of one static buffer, never copied.
// Built once, before any thread serves; Compose may then be called from all.

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "bench/shallow_wire.h"

namespace zerohop::bench {

class NoHopAnswer {
 public:
  explicit NoHopAnswer(int dim);

  // Scans `request` and makes its answer. INVALID_ARGUMENT: not a request.
  grpc::Status Compose(const grpc::ByteBuffer& request, grpc::ByteBuffer& answer) const;

 private:
  const int dim_;
  const size_t row_bytes_;  // tag, length and floats
  const std::string rows_;  // kRowsInBuffer rows as the wire has them
};

}  // namespace zerohop::bench

#pragma once

// NoHopAnswer: the cheapest right answer to an Encode request: a header slice
// with the request's id, then the rows. Built once, before any thread serves;
// Compose may then be called from all.

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "bench/shallow_wire.h"

namespace zerohop::bench {

// Where the rows of an answer come from.
enum class RowSource {
  kStatic,    // one buffer that every answer names: nothing can be cheaper
  kCopied,    // that buffer, copied into memory of the answer's own
  kComputed,  // the echo engine writes them there, each for a text of 40 characters
};

class NoHopAnswer {
 public:
  NoHopAnswer(int dim, RowSource source);

  // Scans `request` and makes its answer. INVALID_ARGUMENT: not a request.
  grpc::Status Compose(const grpc::ByteBuffer& request, grpc::ByteBuffer& answer) const;

 private:
  grpc::Slice OwnRows(size_t count) const;

  const int dim_;
  const RowSource source_;
  const size_t row_bytes_;  // tag, length and floats
  const std::string rows_;  // kRowsInBuffer rows as the wire has them
};

}  // namespace zerohop::bench

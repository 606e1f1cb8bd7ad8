#pragma once

// RequestPool: Encode bodies made before the clock starts, so that sending one
// costs a reference. Only the request's id differs from sending to sending.
// Immutable once built; any thread may take from it.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bench/load_options.h"

namespace zerohop::bench {

struct PooledRequest {
  grpc::Slice body;  // every field but the id
  int prompts = 0;
};

class RequestPool {
 public:
  // Covers every line of the corpus at least once. Throws std::runtime_error
  // where the corpus cannot be read or is empty.
  explicit RequestPool(const LoadOptions& options);

  const PooledRequest& Take(uint64_t turn) const { return requests_[turn % requests_.size()]; }

 private:
  std::vector<PooledRequest> requests_;
};

// Sixteen characters that no other request of this run has.
std::string RequestId(uint64_t number);

// The whole message: the id in front, in a slice that needs no memory, then the body.
grpc::ByteBuffer WithId(const std::string& id, const PooledRequest& request);

}  // namespace zerohop::bench

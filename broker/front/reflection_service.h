#pragma once

// ReflectionService: grpc.reflection.v1alpha, answered on the front's own
// completion queues. gRPC's plugin is a synchronous service, whose threads
// poll the same connections as ours do.
//
// Leave may be called from any thread. Outlives the server and every call.

#include <google/protobuf/descriptor.h>
#include <grpcpp/completion_queue.h>

#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "broker/front/live_calls.h"
#include "reflection.grpc.pb.h"

namespace zerohop {

class ReflectionService {
 public:
  using Pool = google::protobuf::DescriptorPool;

  // `services`: full names of all that the server serves. `pool`: what is told of them; outlives this.
  explicit ReflectionService(std::vector<std::string> services, const Pool& pool = *Pool::generated_pool())
      : services_(std::move(services)), pool_(pool) {}

  // For the server's builder.
  grpc::Service& service() { return service_; }
  // Answers what comes on `queue`, which one thread empties, until the server is shut down.
  void Listen(grpc::ServerCompletionQueue* queue, LiveCalls& live_calls);

  // Cancels every stream, now and later: a client may leave one open for as long as it likes.
  void Leave();

 private:
  class StreamCall;

  const std::vector<std::string> services_;
  const Pool& pool_;
  grpc::reflection::v1alpha::ServerReflection::AsyncService service_;
  std::mutex mutex_;  // guards what follows
  bool left_ = false;
  std::unordered_set<StreamCall*> streams_;  // own themselves
};

}  // namespace zerohop

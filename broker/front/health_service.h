#pragma once

// HealthService: grpc.health.v1, answered on the front's own completion queues.
// gRPC's service of that name brings threads that poll the same connections as
// ours do, so that every request would wake the wrong one first.
//
// Two names are known, "" for the whole server and that of the contract, and
// one status holds for both: NOT_SERVING until it is set.
// Set and Leave may be called from any thread. Outlives the server and every
// call.

#include <grpcpp/completion_queue.h>

#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>

#include "broker/front/live_calls.h"
#include "health.grpc.pb.h"

namespace zerohop {

class HealthService {
 public:
  // `contract`: full name of the service that the server is there for.
  explicit HealthService(std::string contract) : contract_(std::move(contract)) {}

  // For the server's builder.
  grpc::Service& service() { return service_; }
  // Answers what comes on `queue`, until the server is shut down.
  void Listen(grpc::ServerCompletionQueue* queue, LiveCalls& live_calls);

  void Set(bool serving);
  // NOT_SERVING for good. Every Watch is told, and then ended with UNAVAILABLE.
  void Leave();

 private:
  class CheckCall;
  class WatchCall;
  using ServingStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;

  void TellLocked(ServingStatus status);
  ServingStatus StatusLocked(const std::string& name) const;

  const std::string contract_;
  grpc::health::v1::Health::AsyncService service_;
  std::mutex mutex_;  // guards what follows, and the state of every Watch
  ServingStatus status_ = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  bool left_ = false;
  std::unordered_set<WatchCall*> watches_;  // own themselves
};

}  // namespace zerohop

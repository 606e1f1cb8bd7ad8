#pragma once

// GrpcFront: owns the listener, the gRPC server, its completion queues and
// their threads; every request becomes a call object that owns itself.
// Create binds the port, so that a port in use is known before any replica is
// started; Serve begins to answer.

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/front/control_calls.h"
#include "broker/front/encode_call.h"
#include "broker/front/front_courier.h"
#include "broker/front/front_thread.h"
#include "broker/front/health_service.h"
#include "broker/front/listener.h"
#include "broker/front/live_calls.h"
#include "broker/front/reflection_service.h"
#include "broker/front/service.h"

namespace zerohop {

struct GrpcFrontOptions {
  std::string host = "0.0.0.0";
  int port = 50050;  // 0: any free one
  int threads = 1;   // completion queues, one thread each
  // Most that a front thread looks for the next request awake, where that pays (FrontThread).
  std::chrono::nanoseconds look_awake{0};
  int max_message_bytes = 200 << 20;  // each way; what existing clients rely on
  std::string served_model;
  std::string policy;                     // shown by GetReplicaInfo
  std::function<DeskStatus()> consumers;  // shown by GetReplicaInfo; null where none are served
};

class GrpcFront {
 public:
  // Each of its threads waits for answers as `attendance` says.
  static absl::StatusOr<std::unique_ptr<GrpcFront>> Create(const GrpcFrontOptions& options, Router& router,
                                                           const Supervisor& supervisor,
                                                           const Attendance& attendance);
  ~GrpcFront();

  void Serve();
  int port() const { return port_; }
  // For answers that another thread finds ready.
  AnswerCourier& courier() { return courier_; }
  // What grpc.health.v1 answers.
  void SetHealthy(bool healthy) { health_.Set(healthy); }
  // Takes no new requests; those that were taken are answered, or cancelled after `at_most`.
  void Drain(std::chrono::nanoseconds at_most);

 private:
  GrpcFront(const GrpcFrontOptions& options, Router& router, const Supervisor& supervisor,
            const Attendance& attendance);
  absl::Status Bind(const GrpcFrontOptions& options);
  void OnConnection(int socket);
  void ListenOn(grpc::ServerCompletionQueue* queue);

  const Attendance attendance_;
  const std::chrono::nanoseconds look_awake_;
  AsyncService service_;
  HealthService health_{Contract::service_full_name()};
  ReflectionService reflection_{{Contract::service_full_name(), grpc::health::v1::Health::service_full_name(),
                                 grpc::reflection::v1alpha::ServerReflection::service_full_name()}};
  LiveCalls live_calls_;
  Connections connections_;
  EncodeContext encode_context_;
  ControlContext control_context_;
  int port_ = 0;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<Listener> listener_;
  FrontCourier courier_;
  std::vector<std::unique_ptr<FrontThread>> threads_;
  bool drained_ = false;
};

}  // namespace zerohop

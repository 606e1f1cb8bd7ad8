#include "broker/front/grpc_front.h"

#include <grpc/support/log.h>
#include <grpcpp/security/server_credentials.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "broker/front/control_call.h"

namespace zerohop {
namespace {

using namespace arctic_inference;  // the contract's messages

// Calls that wait for a request on each queue, so that a burst finds them ready.
constexpr int kWaitingCalls = 64;

// What gRPC says goes where everything goes; its errors are told by us, in one sentence.
void LogForGrpc(gpr_log_func_args* entry) {
  spdlog::debug("grpc: {}", entry->message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcFront>> GrpcFront::Create(const GrpcFrontOptions& options, Router& router,
                                                             const Supervisor& supervisor,
                                                             const Attendance& attendance) {
  std::unique_ptr<GrpcFront> front(new GrpcFront(options, router, supervisor, attendance));
  if (absl::Status bound = front->Bind(options); !bound.ok()) return bound;
  return front;
}

GrpcFront::GrpcFront(const GrpcFrontOptions& options, Router& router, const Supervisor& supervisor,
                     const Attendance& attendance)
    : attendance_(attendance),
      look_awake_(options.look_awake),
      encode_context_{router,
                      service_,
                      live_calls_,
                      connections_,
                      options.served_model,
                      static_cast<uint64_t>(options.max_message_bytes)},
      control_context_{router, supervisor, options.served_model, options.policy, options.consumers},
      courier_(router) {}

GrpcFront::~GrpcFront() {
  Drain(std::chrono::nanoseconds(0));
}

absl::Status GrpcFront::Bind(const GrpcFrontOptions& options) {
  auto listener = Listener::Open(options.host, options.port);
  if (!listener.ok()) return listener.status();
  gpr_set_log_function(LogForGrpc);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(options.max_message_bytes);
  // A client that is gone without a word must not hold its answers for ever.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.RegisterService(&service_);
  builder.RegisterService(&health_.service());
  builder.RegisterService(&reflection_.service());
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  for (int i = 0; i < options.threads; ++i) queues_.push_back(builder.AddCompletionQueue());
  server_ = builder.BuildAndStart();
  if (!server_) return absl::InternalError("gRPC did not start");
  listener_ = *std::move(listener);
  port_ = listener_->port();
  listener_->Start([this](int socket) { OnConnection(socket); });
  return absl::OkStatus();
}

void GrpcFront::OnConnection(int socket) {
  connections_.Add(socket);
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = socket;
  acceptor_->HandleNewConnection(&connection);
}

void GrpcFront::Serve() {
  for (const auto& queue : queues_) {
    ListenOn(queue.get());
    threads_.push_back(std::make_unique<FrontThread>(*queue, attendance_, look_awake_));
  }
  courier_.Open(queues_.front().get(), threads_.front()->handle());
}

void GrpcFront::ListenOn(grpc::ServerCompletionQueue* queue) {
  for (int i = 0; i < kWaitingCalls; ++i) EncodeCall::Listen(encode_context_, queue);
  ControlCall<AbortRequest, AbortResponse>::Listen(control_context_, service_, &AsyncService::RequestAbort,
                                                   live_calls_, queue);
  ControlCall<ReplicaInfoRequest, ReplicaInfoResponse>::Listen(
      control_context_, service_, &AsyncService::RequestGetReplicaInfo, live_calls_, queue);
  ControlCall<HealthCheckRequest, HealthCheckResponse>::Listen(
      control_context_, service_, &AsyncService::RequestHealthCheck, live_calls_, queue);
  health_.Listen(queue, live_calls_);
  reflection_.Listen(queue, live_calls_);
}

void GrpcFront::Drain(std::chrono::nanoseconds at_most) {
  if (!server_ || std::exchange(drained_, true)) return;
  if (threads_.empty()) Serve();  // queues must be emptied by someone
  // Streams without an end of their own: the drain would wait for them.
  health_.Leave();
  reflection_.Leave();
  const auto deadline =
      std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::milliseconds>(at_most);
  listener_.reset();
  server_->Shutdown(deadline);
  live_calls_.WaitForNone();
  courier_.Close();
  for (const auto& queue : queues_) queue->Shutdown();
  threads_.clear();  // joins
  // The server object stays: a replica's end may still set the health of what no longer answers.
}

}  // namespace zerohop

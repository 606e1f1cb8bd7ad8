#include "broker/front/health_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include "broker/front/completion_event.h"

namespace zerohop {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Check, answered at once. Owns itself.
class HealthService::CheckCall {
 public:
  CheckCall(HealthService& health, grpc::ServerCompletionQueue* queue, LiveCalls& live_calls)
      : health_(health), queue_(queue), live_calls_(live_calls), writer_(&server_context_) {
    health.service_.RequestCheck(&server_context_, &request_, &writer_, queue, queue, &on_request_);
  }

 private:
  void OnRequest(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    live_calls_.Enter();
    new CheckCall(health_, queue_, live_calls_);
    HealthCheckResponse response;
    {
      std::lock_guard lock(health_.mutex_);
      response.set_status(health_.StatusLocked(request_.service()));
    }
    if (response.status() == HealthCheckResponse::SERVICE_UNKNOWN) {
      writer_.FinishWithError({grpc::StatusCode::NOT_FOUND, "No service of this name"}, &on_finished_);
    } else {
      writer_.Finish(response, grpc::Status::OK, &on_finished_);
    }
  }
  void OnFinished(bool /*ok*/) {
    LiveCalls& live_calls = live_calls_;
    delete this;
    live_calls.Leave();
  }

  HealthService& health_;
  grpc::ServerCompletionQueue* queue_;
  LiveCalls& live_calls_;
  grpc::ServerContext server_context_;
  HealthCheckRequest request_;
  grpc::ServerAsyncResponseWriter<HealthCheckResponse> writer_;
  MemberEvent<CheckCall> on_request_{this, &CheckCall::OnRequest};
  MemberEvent<CheckCall> on_finished_{this, &CheckCall::OnFinished};
};

// One Watch, from its request to the end of its call. Owns itself.
//
// gRPC takes one operation at a time. What changes meanwhile waits, and then
// only the newest status is sent. The call is over when gRPC has said so (Done,
// which is also how a client that leaves shows) and nothing is under way. An
// operation that fails needs no care: Done follows.
class HealthService::WatchCall {
 public:
  WatchCall(HealthService& health, grpc::ServerCompletionQueue* queue, LiveCalls& live_calls)
      : health_(health), queue_(queue), live_calls_(live_calls), writer_(&server_context_) {
    server_context_.AsyncNotifyWhenDone(&on_done_);
    health.service_.RequestWatch(&server_context_, &request_, &writer_, queue, queue, &on_request_);
  }

  // Sends what the client does not know yet, or that the server leaves, unless something is under way.
  void AdvanceLocked() {
    if (busy_ || finished_) return;
    const ServingStatus newest = health_.StatusLocked(request_.service());
    if (told_ != newest) {
      busy_ = true;
      told_ = newest;
      HealthCheckResponse response;
      response.set_status(newest);
      writer_.Write(response, &on_sent_);
    } else if (health_.left_) {
      busy_ = true;
      finished_ = true;
      writer_.Finish({grpc::StatusCode::UNAVAILABLE, "The server is shutting down"}, &on_sent_);
    }
  }

 private:
  void OnRequest(bool ok) {
    if (!ok) {  // the server is shutting down; Done will not come
      delete this;
      return;
    }
    live_calls_.Enter();
    new WatchCall(health_, queue_, live_calls_);
    std::unique_lock lock(health_.mutex_);
    health_.watches_.insert(this);
    Continue(std::move(lock));
  }
  void OnSent(bool /*ok*/) { Continue(std::unique_lock(health_.mutex_)); }
  void OnDone(bool /*ok*/) {
    std::unique_lock lock(health_.mutex_);
    done_ = true;
    if (!busy_) End(std::move(lock));
  }

  void Continue(std::unique_lock<std::mutex> lock) {
    busy_ = false;
    if (done_) return End(std::move(lock));
    AdvanceLocked();
  }
  void End(std::unique_lock<std::mutex> lock) {
    health_.watches_.erase(this);
    lock.unlock();
    LiveCalls& live_calls = live_calls_;
    delete this;
    live_calls.Leave();
  }

  HealthService& health_;
  grpc::ServerCompletionQueue* queue_;
  LiveCalls& live_calls_;
  grpc::ServerContext server_context_;
  HealthCheckRequest request_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_;
  ServingStatus told_ = HealthCheckResponse::UNKNOWN;  // which is never sent
  bool busy_ = true;                                   // first with the wait for the request
  bool finished_ = false;
  bool done_ = false;
  MemberEvent<WatchCall> on_request_{this, &WatchCall::OnRequest};
  MemberEvent<WatchCall> on_sent_{this, &WatchCall::OnSent};
  MemberEvent<WatchCall> on_done_{this, &WatchCall::OnDone};
};

void HealthService::Listen(grpc::ServerCompletionQueue* queue, LiveCalls& live_calls) {
  new CheckCall(*this, queue, live_calls);
  new WatchCall(*this, queue, live_calls);
}

void HealthService::Set(bool serving) {
  std::lock_guard lock(mutex_);
  // A replica that starts during the drain must not call new clients in.
  if (!left_) TellLocked(serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
}

void HealthService::Leave() {
  std::lock_guard lock(mutex_);
  left_ = true;
  TellLocked(HealthCheckResponse::NOT_SERVING);
}

void HealthService::TellLocked(ServingStatus status) {
  status_ = status;
  for (WatchCall* watch : watches_) watch->AdvanceLocked();
}

HealthService::ServingStatus HealthService::StatusLocked(const std::string& name) const {
  return name.empty() || name == contract_ ? status_ : HealthCheckResponse::SERVICE_UNKNOWN;
}

}  // namespace zerohop

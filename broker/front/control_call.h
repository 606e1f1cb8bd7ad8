#pragma once

// ControlCall: one call of a method that is answered at once, on the
// completion-queue thread that received it. Owns itself.

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include "broker/front/completion_event.h"
#include "broker/front/control_calls.h"
#include "broker/front/live_calls.h"

namespace zerohop {

template <typename Request, typename Response>
class ControlCall {
 public:
  using Method = void (AsyncService::*)(grpc::ServerContext*, Request*,
                                        grpc::ServerAsyncResponseWriter<Response>*, grpc::CompletionQueue*,
                                        grpc::ServerCompletionQueue*, void*);

  static void Listen(const ControlContext& context, AsyncService& service, Method method,
                     LiveCalls& live_calls, grpc::ServerCompletionQueue* queue) {
    new ControlCall(context, service, method, live_calls, queue);
  }

 private:
  ControlCall(const ControlContext& context, AsyncService& service, Method method, LiveCalls& live_calls,
              grpc::ServerCompletionQueue* queue)
      : context_(context),
        service_(service),
        method_(method),
        live_calls_(live_calls),
        queue_(queue),
        writer_(&server_context_) {
    (service_.*method_)(&server_context_, &request_, &writer_, queue_, queue_, &on_request_);
  }

  void OnRequest(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    live_calls_.Enter();
    Listen(context_, service_, method_, live_calls_, queue_);
    writer_.Finish(Respond(context_, request_), grpc::Status::OK, &on_finished_);
  }
  void OnFinished(bool /*ok*/) {
    LiveCalls& live_calls = live_calls_;
    delete this;
    live_calls.Leave();
  }

  const ControlContext& context_;
  AsyncService& service_;
  Method method_;
  LiveCalls& live_calls_;
  grpc::ServerCompletionQueue* queue_;
  grpc::ServerContext server_context_;
  Request request_;
  grpc::ServerAsyncResponseWriter<Response> writer_;
  MemberEvent<ControlCall> on_request_{this, &ControlCall::OnRequest};
  MemberEvent<ControlCall> on_finished_{this, &ControlCall::OnFinished};
};

}  // namespace zerohop

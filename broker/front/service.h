#pragma once

// The service as the front serves it: Encode raw, so that neither request nor
// answer is ever decoded; the other methods as messages.

#include <grpcpp/support/async_unary_call.h>

#include "broker/front/answers.h"
#include "inference.grpc.pb.h"

namespace zerohop {

using Contract = arctic_inference::InferenceService;

class AsyncService final : public Contract::WithRawMethod_Encode<
                               Contract::WithAsyncMethod_Abort<Contract::WithAsyncMethod_GetReplicaInfo<
                                   Contract::WithAsyncMethod_HealthCheck<Contract::Service>>>> {
 public:
  // In place of what the generator gives a raw method, which is answered with a ByteBuffer.
  void RequestEncode(grpc::ServerContext* context, grpc::ByteBuffer* request,
                     grpc::ServerAsyncResponseWriter<Reply>* writer, grpc::ServerCompletionQueue* queue,
                     void* tag) {
    RequestAsyncUnary(kEncode, context, request, writer, queue, queue, tag);
  }

 private:
  static constexpr int kEncode = 0;  // the contract's first method
};

}  // namespace zerohop

#pragma once

// The service as the front serves it: Encode raw, so that neither request nor
// answer is ever decoded; the other methods as messages.

#include "inference.grpc.pb.h"

namespace zerohop {

using Contract = arctic_inference::InferenceService;
using AsyncService = Contract::WithRawMethod_Encode<Contract::WithAsyncMethod_Abort<
    Contract::WithAsyncMethod_GetReplicaInfo<Contract::WithAsyncMethod_HealthCheck<Contract::Service>>>>;

}  // namespace zerohop

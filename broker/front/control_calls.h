#pragma once

// The methods besides Encode: Abort, GetReplicaInfo, HealthCheck. Answered
// from memory, at once.

#include <functional>
#include <string>

#include "broker/consumers/consumer_status.h"
#include "broker/front/service.h"
#include "broker/replicas/supervisor.h"
#include "broker/router/router.h"

namespace zerohop {

// What they answer from; outlives the calls.
struct ControlContext {
  Router& router;
  const Supervisor& supervisor;
  std::string served_model;
  std::string policy;
  std::function<DeskStatus()> consumers;  // null where none are served
};

arctic_inference::AbortResponse Respond(const ControlContext& context,
                                        const arctic_inference::AbortRequest& request);
arctic_inference::ReplicaInfoResponse Respond(const ControlContext& context,
                                              const arctic_inference::ReplicaInfoRequest& request);
arctic_inference::HealthCheckResponse Respond(const ControlContext& context,
                                              const arctic_inference::HealthCheckRequest& request);

}  // namespace zerohop

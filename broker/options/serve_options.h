#pragma once

// The flags of `zerohop serve`, and what each part of the broker makes of them.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/consumers/consumer_desk.h"
#include "broker/front/grpc_front.h"
#include "broker/replicas/supervisor.h"
#include "broker/router/router.h"

namespace zerohop {

// Whether the broker holds a device for rows by CUDA IPC, and which.
struct DeviceOptions {
  bool cuda_ipc = false;
  std::string choice = "0";  // an ordinal or a UUID
};

struct ServeOptions {
  GrpcFrontOptions front;
  RouterOptions router;
  SupervisorOptions supervisor;
  DeviceOptions device;
  ConsumerOptions consumers;
  std::chrono::nanoseconds lane_spin{0};  // of the lane thread
  std::chrono::nanoseconds lone_spin{0};  // of a front thread, for the only request in the house
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds(30);
  std::string log_level = "info";
};

// Exits with 0 after --help, with 2 and one sentence after a mistake in the flags.
ServeOptions ParseServeOrExit(int argc, char** argv);

}  // namespace zerohop

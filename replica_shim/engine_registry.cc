// The engines that this build knows, by the name that --engine gives.

#include "replica_shim/engine.h"
#include "replica_shim/engines/echo_engine.h"
#ifdef ZEROHOP_OPENVINO
#include "replica_shim/engines/openvino/openvino_engine.h"
#endif

namespace zerohop {

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const EngineOptions& options) {
  if (!options.device.empty()) {
    return absl::InvalidArgumentError("--device " + options.device + ": the engine " + options.engine +
                                      " runs on the CPU");
  }
  if (options.engine == "echo") return MakeEchoEngine();
#ifdef ZEROHOP_OPENVINO
  if (options.engine == "openvino") return MakeOpenVinoEngine();
#endif
  return absl::InvalidArgumentError("no engine is called '" + options.engine +
                                    "'; this build has openvino and echo");
}

}  // namespace zerohop

// A replica with the echo engine on a GPU, started by a broker as --replica-program.

#include "replica_shim/replica_options.h"
#include "replica_shim/serve_replica.h"
#include "tests/process/device/device_echo_engine.h"

int main(int argc, char** argv) {
  const auto options = zerohop::ParseReplicaOptions(argc, argv);
  if (!options.ok()) return zerohop::RefuseToServe(options.status());
  const auto make = [&]() -> absl::StatusOr<zerohop::AnyEngine> { return zerohop::MakeDeviceEchoEngine(); };
  zerohop::WarmEngine engine(options->engine, make);
  return zerohop::ServeReplica(engine, options->place);
}

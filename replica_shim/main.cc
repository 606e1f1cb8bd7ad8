// zerohop-replica: one engine process.
//
// Spawned by the broker, it finds its control socket as descriptor 3 and lives
// as long as the broker does. With --connect it belongs to a supervisor of its
// own: it attaches to the broker that listens there, and when that one goes, it
// keeps its engine warm and waits for the next.

#include "replica_shim/replica_options.h"
#include "replica_shim/serve_replica.h"

int main(int argc, char** argv) {
  const auto options = zerohop::ParseReplicaOptions(argc, argv);
  if (!options.ok()) return zerohop::RefuseToServe(options.status());
  const auto make = [&]() -> absl::StatusOr<zerohop::AnyEngine> {
    return zerohop::MakeEngine(options->engine);
  };
  zerohop::WarmEngine engine(options->engine, make);
  return zerohop::ServeReplica(engine, options->place);
}

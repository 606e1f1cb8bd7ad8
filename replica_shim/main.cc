// zerohop-replica: one engine process.
//
// Spawned by the broker, it finds its control socket as descriptor 3 and lives
// as long as the broker does. With --connect it belongs to a supervisor of its
// own: it attaches to the broker that listens there, and when that one goes, it
// keeps its engine warm and waits for the next.

#include <fcntl.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "replica_shim/crash_point.h"
#include "replica_shim/session.h"

namespace zerohop {
namespace {

constexpr std::chrono::milliseconds kBetweenConnects(100);

int Refuse(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

// Terminals and service managers signal a whole group; only the broker decides when its replica leaves.
void IgnoreTerminationSignals() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_IGN);
}

int ServeSpawned(const absl::StatusOr<ReplicaOptions>& options) {
  IgnoreTerminationSignals();
  if (::fcntl(kControlFd, F_GETFD) < 0) {
    std::fprintf(stderr,
                 "zerohop-replica is started by `zerohop serve`, which hands it a control socket; "
                 "to attach it to a broker, say --connect SOCKET\n");
    return 2;
  }
  ::fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  ControlChannel control{UniqueFd(kControlFd)};
  CrashPoint("started");
  if (!options.ok()) {
    (void)control.Send(Failed{std::string(options.status().message())});
    return Refuse(options.status());
  }
  WarmEngine engine(options->engine);
  const absl::Status ended = RunSession(control, engine, options->cpu, WhenAlone::kExit);
  return ended.ok() ? 0 : Refuse(ended);
}

int ServeAttached(const ReplicaOptions& options) {
  WarmEngine engine(options.engine);
  for (bool told = false;; std::this_thread::sleep_for(kBetweenConnects)) {
    auto control = ControlChannel::Connect(options.connect);
    if (absl::IsUnavailable(control.status())) {
      if (!told) std::fprintf(stderr, "waiting for a broker at %s\n", options.connect.c_str());
      told = true;
      continue;
    }
    if (!control.ok()) return Refuse(control.status());
    told = false;
    const absl::Status ended = RunSession(*control, engine, options.cpu, WhenAlone::kFence);
    if (!ended.ok() && !absl::IsUnavailable(ended)) return Refuse(ended);
    std::fprintf(stderr, "the broker is gone; the engine stays loaded\n");
  }
}

int Main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto options = ParseReplicaOptions(argc, argv);
  if (options.ok() && !options->connect.empty()) return ServeAttached(*options);
  return ServeSpawned(options);
}

}  // namespace
}  // namespace zerohop

int main(int argc, char** argv) {
  return zerohop::Main(argc, argv);
}

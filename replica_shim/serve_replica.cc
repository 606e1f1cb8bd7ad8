#include "replica_shim/serve_replica.h"

#include <fcntl.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "replica_shim/crash_point.h"

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

bool TakeControl(ControlChannel* control) {
  if (::fcntl(kControlFd, F_GETFD) < 0) {
    std::fprintf(stderr,
                 "a replica is started by `zerohop serve`, which hands it a control socket; "
                 "to attach one to a broker, say --connect SOCKET\n");
    return false;
  }
  ::fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  *control = ControlChannel(UniqueFd(kControlFd));
  return true;
}

int ServeSpawned(WarmEngine& engine, int cpu) {
  IgnoreTerminationSignals();
  ControlChannel control;
  if (!TakeControl(&control)) return 2;
  CrashPoint("started");
  const absl::Status ended = RunSession(control, engine, cpu, WhenAlone::kExit);
  return ended.ok() ? 0 : Refuse(ended);
}

int ServeAttached(WarmEngine& engine, const ReplicaPlace& place) {
  for (bool told = false;; std::this_thread::sleep_for(kBetweenConnects)) {
    auto control = ControlChannel::Connect(place.connect);
    if (absl::IsUnavailable(control.status())) {
      if (!told) std::fprintf(stderr, "waiting for a broker at %s\n", place.connect.c_str());
      told = true;
      continue;
    }
    if (!control.ok()) return Refuse(control.status());
    told = false;
    const absl::Status ended = RunSession(*control, engine, place.cpu, WhenAlone::kFence);
    if (!ended.ok() && !absl::IsUnavailable(ended)) return Refuse(ended);
    std::fprintf(stderr, "the broker is gone; the engine stays loaded\n");
  }
}

}  // namespace

int ServeReplica(WarmEngine& engine, const ReplicaPlace& place) {
  std::signal(SIGPIPE, SIG_IGN);
  return place.connect.empty() ? ServeSpawned(engine, place.cpu) : ServeAttached(engine, place);
}

int RefuseToServe(const absl::Status& why) {
  ControlChannel control;
  if (::fcntl(kControlFd, F_GETFD) >= 0 && TakeControl(&control)) {
    (void)control.Send(Failed{std::string(why.message())});
  }
  return Refuse(why);
}

}  // namespace zerohop

#include "replica_shim/serve_replica.h"

#include <fcntl.h>
#include <sys/socket.h>

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

// Service managers signal every process; only the broker decides when its replica leaves. Not ignored but
// handled, so that programs which an engine starts have their signals as usual.
void IgnoreTerminationSignals() {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &nothing, nullptr);
}

// Of the process, and open until its end: a replica that hangs up is killed.
ControlChannel& TakeControl() {
  static ControlChannel control{UniqueFd(kControlFd)};
  ::fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  return control;
}

int ServeSpawned(WarmEngine& engine, int cpu) {
  if (!IsSpawned()) {
    std::fprintf(stderr, "%s\n", kNotSpawned);
    return 2;
  }
  IgnoreTerminationSignals();
  ControlChannel& control = TakeControl();
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

bool IsSpawned() {
  int domain = 0, type = 0;
  socklen_t size = sizeof domain;
  return ::getsockopt(kControlFd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
         ::getsockopt(kControlFd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

int RefuseToServe(const absl::Status& why) {
  if (IsSpawned()) (void)TakeControl().Send(Failed{std::string(why.message())});
  return Refuse(why);
}

}  // namespace zerohop

// zerohop-replica: one engine process. Started by the broker, with its control
// socket as descriptor 3; lives as long as the broker wants it.

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "replica_shim/engine.h"
#include "replica_shim/lifeline.h"
#include "replica_shim/replica_options.h"
#include "replica_shim/worker.h"
#include "shm/control_channel.h"
#include "shm/lane.h"

namespace zerohop {
namespace {

// The reason goes where it is read: to the broker, and to the log.
int Refuse(ControlChannel& control, const absl::Status& status) {
  const std::string reason(status.message());
  std::fprintf(stderr, "%s\n", reason.c_str());
  (void)control.Send(Failed{reason});
  return 1;
}

// Terminals and service managers signal a whole group; only the broker decides when a replica leaves.
void IgnoreTerminationSignals() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
}

void PinTo(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // A CPU that is gone is no reason to refuse service: the scheduler places us then.
  (void)::sched_setaffinity(0, sizeof set, &set);
}

absl::StatusOr<ControlPacket> AskForLane(ControlChannel& control) {
  Hello hello;
  hello.pid = ::getpid();
  if (absl::Status sent = control.Send(hello); !sent.ok()) return sent;
  auto packet = control.Receive(/*block=*/true);
  if (packet.ok() && (!std::holds_alternative<Offer>(packet->message) || packet->fds.size() != 3)) {
    return absl::InvalidArgumentError("expected the offer of a lane with three descriptors");
  }
  return packet;
}

absl::StatusOr<ReplicaLane> AttachTo(ControlPacket& packet, const Offer& offer) {
  LaneOffer fds{std::move(packet.fds[0]), std::move(packet.fds[1]), std::move(packet.fds[2])};
  return ReplicaLane::Attach(std::move(fds), {offer.epoch, offer.generation, offer.replica},
                             std::chrono::nanoseconds(offer.spin_ns));
}

int Main(int argc, char** argv) {
  IgnoreTerminationSignals();
  if (::fcntl(kControlFd, F_GETFD) < 0) {
    std::fprintf(stderr, "zerohop-replica is started by `zerohop serve`, which hands it a control socket\n");
    return 2;
  }
  ::fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  ControlChannel control{UniqueFd(kControlFd)};
  auto options = ParseReplicaOptions(argc, argv);
  if (!options.ok()) return Refuse(control, options.status());
  auto packet = AskForLane(control);
  if (!packet.ok()) return Refuse(control, packet.status());
  const Offer offer = std::get<Offer>(packet->message);
  auto lane = AttachTo(*packet, offer);
  if (!lane.ok()) return Refuse(control, lane.status());

  Lifeline lifeline(control, lane->heartbeat(), std::chrono::nanoseconds(offer.beat_ns));
  PinTo(options->cpu);  // after the side thread, which must run while the worker computes
  auto engine = MakeEngine(options->engine);
  if (!engine.ok()) return Refuse(control, engine.status());
  auto info = (*engine)->Load(options->engine);
  if (!info.ok()) return Refuse(control, info.status());

  Worker worker(*lane, **engine, *info, [&] { return lifeline.DrainRequested(); });
  lane->MarkReady();
  if (absl::Status sent = control.Send(Ready{*info}); !sent.ok()) return 1;
  const absl::Status served = worker.Serve();
  return served.ok() ? 0 : Refuse(control, served);
}

}  // namespace
}  // namespace zerohop

int main(int argc, char** argv) {
  return zerohop::Main(argc, argv);
}

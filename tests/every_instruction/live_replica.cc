#include "tests/every_instruction/live_replica.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>

#include "tests/support/must.h"

namespace zerohop {
namespace {

constexpr int kDim = 8;
constexpr std::chrono::milliseconds kBeat(100);

bool WaitReadable(int fd, int at_most_ms) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, at_most_ms) > 0;
}

}  // namespace

LiveReplica::LiveReplica(const LaneIdentity& identity, const LaneGeometry& geometry)
    : lane_(std::make_shared<BrokerLane>(Must(BrokerLane::Create(identity, geometry)))),
      process_(Must(ReplicaProcess::Spawn(
          {ZEROHOP_REPLICA_PROGRAM, "--engine=echo", "--echo-dim=" + std::to_string(kDim)}))) {}

EngineInfo LiveReplica::Join(const BrokerBell& bell) {
  if (!std::holds_alternative<Hello>(Hear())) throw std::runtime_error("expected Hello from the replica");
  const LaneOffer fds = Must(lane_->Offer(bell));
  const LaneIdentity& who = lane_->identity();
  // No spinning before a sleep: how long it takes would be another each time.
  const Offer offer{who.replica, who.epoch, who.generation, /*spin_ns=*/0,
                    std::chrono::nanoseconds(kBeat).count()};
  const absl::Status sent =
      process_.control().Send(offer, {fds.broker_segment.get(), fds.replica_segment.get(), fds.bell.get()});
  if (!sent.ok()) throw std::runtime_error(std::string(sent.message()));
  const ControlMessage answer = Hear();
  const auto* ready = std::get_if<Ready>(&answer);
  if (ready == nullptr || !lane_->Ready()) throw std::runtime_error("expected Ready from the replica");
  return ready->info;
}

ControlMessage LiveReplica::Hear() {
  auto packet = process_.control().Receive(/*block=*/true);
  if (packet.ok()) return packet->message;
  throw std::runtime_error("a replica that starts: " + std::string(packet.status().message()) + "; " +
                           Output());
}

bool LiveReplica::Exited() const {
  return WaitReadable(process_.pidfd(), 0);
}

std::string LiveReplica::Output() const {
  std::string all;
  char some[4096];
  for (ssize_t got; (got = ::read(process_.output_fd(), some, sizeof some)) > 0;) all.append(some, got);
  return all;
}

void LiveReplica::Halt() {
  siginfo_t info{};
  if (::kill(pid(), SIGSTOP) != 0 || ::waitid(P_PID, static_cast<id_t>(pid()), &info, WSTOPPED) != 0) {
    throw std::runtime_error("cannot halt a replica; " + Output());
  }
}

void LiveReplica::GoOn() {
  ::kill(pid(), SIGCONT);
}

void LiveReplica::AwaitExit() const {
  (void)WaitReadable(process_.pidfd(), -1);
}

}  // namespace zerohop

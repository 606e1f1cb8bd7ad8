#include "broker/replicas/supervisor.h"

#include <poll.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <limits>
#include <random>

namespace zerohop {
namespace {

// Crashes before anything has ever served, after which the start has failed.
constexpr int kStartsThatMayFail = 3;
constexpr int kPacketsAtOnce = 16;

uint64_t RandomEpoch() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// The i-th CPU this process may use, counted round.
int UsableCpu(uint32_t i) {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return -1;
  int skip = static_cast<int>(i % static_cast<uint32_t>(CPU_COUNT(&set)));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set) && skip-- == 0) return cpu;
  }
  return -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(SupervisorOptions options,
                                                               const BrokerBell& bell,
                                                               LaneObserver& observer) {
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options), bell, observer));
  for (Replica& replica : supervisor->replicas_) {
    if (absl::Status reserved = supervisor->ReserveLane(replica); !reserved.ok()) return reserved;
  }
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, const BrokerBell& bell, LaneObserver& observer)
    : options_(std::move(options)),
      bell_(bell),
      observer_(observer),
      epoch_(RandomEpoch()),
      replicas_(options_.replicas),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      snapshot_(options_.replicas) {
  for (uint32_t i = 0; i < replicas_.size(); ++i) replicas_[i].index = i;
}

Supervisor::~Supervisor() {
  if (thread_.joinable()) Drain(std::chrono::nanoseconds(0));
}

void Supervisor::Start(SupervisorEvents events) {
  events_ = std::move(events);
  thread_ = std::thread([this] { Run(); });
}

void Supervisor::RequestKill(uint32_t replica, uint64_t generation, std::string reason) {
  {
    std::lock_guard lock(mutex_);
    kill_requests_.push_back({replica, generation, std::move(reason)});
  }
  ::eventfd_write(wake_.get(), 1);
}

void Supervisor::Drain(std::chrono::nanoseconds at_most) {
  if (!thread_.joinable()) return;
  // EDGE(leave) release: the deadline is complete before the request is seen.
  drain_deadline_ns_.store((Clock::now() + at_most).time_since_epoch().count(), std::memory_order_relaxed);
  drain_requested_.store(true, std::memory_order_release);
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

std::vector<ReplicaStatus> Supervisor::Snapshot() const {
  std::lock_guard lock(mutex_);
  return snapshot_;
}

uint32_t Supervisor::CountServing() const {
  std::lock_guard lock(mutex_);
  return CountServingLocked();
}

uint32_t Supervisor::CountServingLocked() const {
  uint32_t serving = 0;
  for (const ReplicaStatus& status : snapshot_) serving += status.state == ReplicaState::kServing;
  return serving;
}

void Supervisor::Run() {
  while (!draining_ || !AllStopped()) {
    const Clock::time_point now = Clock::now();
    Tick(now);
    WaitForEvents(now);
    TakeKillRequests();
    // EDGE(leave) acquire: the deadline is complete.
    if (!draining_ && drain_requested_.load(std::memory_order_acquire)) BeginDrain();
  }
}

void Supervisor::WaitForEvents(Clock::time_point now) {
  std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}};
  std::vector<Replica*> owners{nullptr};
  for (Replica& replica : replicas_) {
    if (!replica.process) continue;
    for (int fd : {replica.process.output_fd(), replica.process.control().fd(), replica.process.pidfd()}) {
      fds.push_back({fd, POLLIN, 0});
      owners.push_back(&replica);
    }
  }
  if (::poll(fds.data(), fds.size(), static_cast<int>(UntilNextDeadline(now).count())) <= 0) return;
  eventfd_t ignored;
  if (fds[0].revents != 0) ::eventfd_read(wake_.get(), &ignored);
  for (size_t i = 1; i < fds.size(); i += 3) {
    Replica& replica = *owners[i];
    if (fds[i].revents != 0) LogOutput(replica);
    if (fds[i + 1].revents != 0) HearControl(replica);
    if (fds[i + 2].revents != 0) OnExit(replica);
  }
}

std::chrono::milliseconds Supervisor::UntilNextDeadline(Clock::time_point now) const {
  Clock::time_point next = next_look_;
  for (const Replica& replica : replicas_) {
    if (replica.state == ReplicaState::kWaiting) next = std::min(next, replica.start_at);
  }
  if (draining_) next = std::min(next, now + std::chrono::milliseconds(100));
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - now);
  return std::max(wait, std::chrono::milliseconds(0));
}

void Supervisor::Tick(Clock::time_point now) {
  const bool look = now >= next_look_;
  if (look) next_look_ = now + std::chrono::duration_cast<Clock::duration>(options_.health_interval);
  const bool out_of_time =
      draining_ && now.time_since_epoch().count() >=
                       drain_deadline_ns_.load(std::memory_order_relaxed);  // set before we drain
  for (Replica& replica : replicas_) {
    if (replica.state == ReplicaState::kWaiting && now >= replica.start_at) Spawn(replica, now);
    if (!replica.process) continue;
    if (out_of_time) Kill(replica, "did not drain in time");
    if (!look || replica.state == ReplicaState::kKilled) continue;
    replica.heartbeat.Look(now);
    if (auto suspicion = Suspicion(replica.heartbeat, options_.liveness, now)) Kill(replica, *suspicion);
  }
}

absl::Status Supervisor::ReserveLane(Replica& replica) {
  auto lane = BrokerLane::Create({epoch_, replica.generation + 1, replica.index}, options_.geometry);
  if (!lane.ok()) return lane.status();
  replica.lane = std::make_shared<BrokerLane>(*std::move(lane));
  return absl::OkStatus();
}

void Supervisor::Spawn(Replica& replica, Clock::time_point now) {
  absl::Status problem;
  if (!replica.lane) problem = ReserveLane(replica);
  // New generation before the process: a late beat of the dead one must not revive it.
  ++replica.generation;
  if (problem.ok()) {
    auto process = ChildProcess::Start(CommandFor(replica));
    problem = process.status();
    if (process.ok()) replica.process = *std::move(process);
  }
  if (!problem.ok()) {
    spdlog::error("replica {}: cannot start: {}", replica.index, std::string(problem.message()));
    replica.status.last_death = "cannot start: " + std::string(problem.message());
    Publish(replica);
    replica.lane.reset();
    replica.start_at =
        now + std::max<Clock::duration>(replica.backoff.AfterDeath({}, true), std::chrono::seconds(1));
    return;
  }
  replica.heartbeat = replica.lane->MakeHeartbeatReader(now);
  replica.output = ReplicaOutput();
  replica.death.clear();
  replica.served_from = Clock::time_point::max();
  Move(replica, ReplicaEvent::kSpawned);
  spdlog::info("replica {}: generation {} started, pid {}", replica.index, replica.generation,
               replica.process.pid());
}

std::vector<std::string> Supervisor::CommandFor(const Replica& replica) const {
  std::vector<std::string> command = options_.command;
  if (options_.pin) command.push_back("--cpu=" + std::to_string(UsableCpu(replica.index)));
  return command;
}

void Supervisor::HearControl(Replica& replica) {
  // Bounded: a replica that talks without end must not hold the supervisor.
  for (int packets = 0; packets < kPacketsAtOnce && replica.process; ++packets) {
    auto packet = replica.process.control().Receive(/*block=*/false);
    if (absl::IsDeadlineExceeded(packet.status())) return;
    if (packet.ok()) {
      OnMessage(replica, packet->message);
      continue;
    }
    // The end of a dying process comes twice, here and at the pidfd; a living one that hangs up is of no use.
    if (absl::IsInvalidArgument(packet.status()))
      Kill(replica, "garbage: " + std::string(packet.status().message()));
    if (absl::IsUnavailable(packet.status())) {
      Kill(replica, "");
      replica.process.control().Close();
    }
    return;
  }
}

void Supervisor::OnMessage(Replica& replica, const ControlMessage& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    if (hello->protocol == kControlProtocol) return SendOffer(replica);
    Kill(replica, "speaks control protocol " + std::to_string(hello->protocol) + ", expected " +
                      std::to_string(kControlProtocol));
  } else if (const auto* ready = std::get_if<Ready>(&message)) {
    OnReady(replica, ready->info);
  } else if (const auto* failed = std::get_if<Failed>(&message)) {
    replica.death = failed->reason;
    if (!ever_served_) deaths_before_service_ = kStartsThatMayFail;  // it would say the same again
  } else {
    Kill(replica, "garbage: a control message that only a broker sends");
  }
}

void Supervisor::SendOffer(Replica& replica) {
  auto fds = replica.lane->Offer(bell_);
  absl::Status sent = fds.status();
  if (fds.ok()) {
    const Offer offer{replica.index, epoch_, replica.generation, options_.spin_limit.count(),
                      options_.beat.count()};
    sent = replica.process.control().Send(
        offer, {fds->broker_segment.get(), fds->replica_segment.get(), fds->bell.get()});
  }
  if (!sent.ok()) Kill(replica, std::string(sent.message()));
}

void Supervisor::OnReady(Replica& replica, const EngineInfo& info) {
  if (replica.state != ReplicaState::kLoading) return;
  if (!replica.lane->Ready()) return Kill(replica, "garbage: ready without a ready lane");
  if (absl::Status accepted = observer_.OnServing(replica.index, replica.lane, info); !accepted.ok()) {
    return Kill(replica, std::string(accepted.message()));
  }
  replica.observed = true;
  replica.status.info = info;
  replica.served_from = Clock::now();
  ever_served_ = true;
  Move(replica, ReplicaEvent::kReady);
  spdlog::info("replica {}: generation {} serves; {}, {}, dim {}", replica.index, replica.generation,
               info.engine, info.dtype, info.dim);
}

// The death path: the exit was seen, so nobody writes to the lane any more.
void Supervisor::OnExit(Replica& replica) {
  const Clock::time_point now = Clock::now();
  HearControl(replica);  // a last word, such as Failed
  LogOutput(replica);
  const std::string exit = replica.process.Reap();
  std::string reason = replica.death.empty() ? exit : replica.death + " (" + exit + ")";
  const bool served = replica.observed;
  if (!served && replica.death.empty()) {
    const std::string last = replica.output.LastLines();
    if (!last.empty()) reason += ": " + last;
  }
  replica.process = ChildProcess();
  if (served) observer_.OnGone(replica.index, reason);
  replica.observed = false;
  replica.lane.reset();  // unmapped when the last answer that refers to it has been sent
  Move(replica, ReplicaEvent::kExited);
  if (replica.state == ReplicaState::kStopped) return;
  if (!ever_served_ && ++deaths_before_service_ >= kStartsThatMayFail) {
    events_.failed_start("replica " + std::to_string(replica.index) + ": " + reason);
    deaths_before_service_ = std::numeric_limits<int>::min();  // told once
  }
  replica.status.last_death = reason;
  ++replica.status.restarts;
  const auto served_for = served ? now - replica.served_from : Clock::duration::zero();
  const auto wait = replica.backoff.AfterDeath(served_for, OthersServe(replica));
  replica.start_at = now + wait;
  Publish(replica);
  spdlog::warn("replica {}: generation {} died: {}; the next starts in {} ms", replica.index,
               replica.generation, reason,
               std::chrono::duration_cast<std::chrono::milliseconds>(wait).count());
}

void Supervisor::Kill(Replica& replica, std::string reason) {
  if (replica.state == ReplicaState::kKilled || replica.state == ReplicaState::kEnding) return;
  if (!replica.process) return;
  if (replica.death.empty()) replica.death = std::move(reason);
  if (!replica.death.empty()) spdlog::warn("replica {}: killed: {}", replica.index, replica.death);
  Move(replica, ReplicaEvent::kKill);
  replica.process.Kill();
}

void Supervisor::TakeKillRequests() {
  std::vector<KillRequest> requests;
  {
    std::lock_guard lock(mutex_);
    requests.swap(kill_requests_);
  }
  for (KillRequest& request : requests) {
    Replica& replica = replicas_[request.replica];
    if (replica.generation == request.generation) Kill(replica, std::move(request.reason));
  }
}

void Supervisor::BeginDrain() {
  draining_ = true;
  for (Replica& replica : replicas_) {
    Move(replica, ReplicaEvent::kDrain);
    if (!replica.process || replica.state != ReplicaState::kDraining) continue;
    // One that still loads does not listen to its worker yet, and has taken nothing.
    if (!replica.observed || !replica.process.control().Send(zerohop::Drain{}).ok()) Kill(replica, "");
    if (replica.observed) replica.lane->RingReplica();
  }
}

bool Supervisor::AllStopped() const {
  for (const Replica& replica : replicas_) {
    if (replica.state != ReplicaState::kStopped) return false;
  }
  return true;
}

bool Supervisor::OthersServe(const Replica& replica) const {
  for (const Replica& other : replicas_) {
    if (&other != &replica && other.state == ReplicaState::kServing) return true;
  }
  return false;
}

void Supervisor::Move(Replica& replica, ReplicaEvent event) {
  replica.state = Next(replica.state, event);
  Publish(replica);
}

void Supervisor::Publish(Replica& replica) {
  replica.status.state = replica.state;
  replica.status.generation = replica.generation;
  replica.status.pid = replica.process ? replica.process.pid() : 0;
  uint32_t before = 0, after = 0;
  {
    std::lock_guard lock(mutex_);
    before = CountServingLocked();
    snapshot_[replica.index] = replica.status;
    after = CountServingLocked();
  }
  if (before != after) events_.serving_changed(after);
}

void Supervisor::LogOutput(Replica& replica) {
  const bool open = replica.output.Drain(replica.process.output_fd(), [&](const std::string& line) {
    spdlog::info("replica {}.{}: {}", replica.index, replica.generation, line);
  });
  if (!open) replica.process.CloseOutput();
}

}  // namespace zerohop

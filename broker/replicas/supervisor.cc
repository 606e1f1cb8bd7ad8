#include "broker/replicas/supervisor.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <limits>

#include "broker/replicas/cpu_placement.h"
#include "shm/random_bits.h"

namespace zerohop {
namespace {

// Deaths before anything has ever served, after which the start has failed.
constexpr int kStartsThatMayFail = 3;
// What an exit may take after SIGKILL, when the broker itself wants to leave.
constexpr std::chrono::seconds kDying(10);

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(SupervisorOptions options,
                                                               const BrokerBell& bell,
                                                               LaneObserver& observer) {
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options), bell, observer));
  for (Replica& replica : supervisor->replicas_) {
    if (absl::Status reserved = replica.ReserveLaneNow(); !reserved.ok()) return reserved;
  }
  if (supervisor->Attaches()) {
    auto door = LocalDoor::Open(supervisor->options_.control_socket);
    if (!door.ok()) return door.status();
    supervisor->door_ = *std::move(door);
  }
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, const BrokerBell& bell, LaneObserver& observer)
    : options_(std::move(options)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      snapshot_(options_.replicas),
      lanes_(options_.geometry, options_.device, [this] { Wake(); }),
      lifelines_([this](uint32_t replica, uint64_t generation, Clock::time_point at) {
        RequestKill(replica, generation, "", at);
      }),
      around_{bell,
              observer,
              lanes_,
              lifelines_,
              RandomBits(),
              options_.liveness,
              options_.spin_limit,
              options_.beat,
              options_.device,
              [this](uint32_t replica, const ReplicaStatus& status) { Publish(replica, status); }} {
  replicas_.reserve(options_.replicas);
  for (uint32_t i = 0; i < options_.replicas; ++i) replicas_.emplace_back(i, around_);
}

Supervisor::~Supervisor() {
  if (thread_.joinable()) Drain(std::chrono::nanoseconds(0));
}

void Supervisor::Start(SupervisorEvents events) {
  events_ = std::move(events);
  thread_ = std::thread([this] { Run(); });
}

void Supervisor::RequestKill(uint32_t replica, uint64_t generation, std::string reason,
                             Clock::time_point sign_at) {
  {
    std::lock_guard lock(mutex_);
    kill_requests_.push_back({replica, generation, std::move(reason), sign_at});
  }
  Wake();
}

void Supervisor::Wake() {
  ::eventfd_write(wake_.get(), 1);
}

void Supervisor::Drain(std::chrono::nanoseconds at_most) {
  if (!thread_.joinable()) return;
  // EDGE(leave) release: the deadline is complete before the request is seen.
  drain_deadline_ns_.store((Clock::now() + at_most).time_since_epoch().count(), std::memory_order_relaxed);
  drain_requested_.store(true, std::memory_order_release);
  Wake();
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
    if (draining_ && AbandonTheUndying(now)) return;
    Tick(now);
    WaitForEvents(now);
    TakeKillRequests();
    // EDGE(leave) acquire: the deadline is complete.
    if (!draining_ && drain_requested_.load(std::memory_order_acquire)) BeginDrain();
  }
}

void Supervisor::Tick(Clock::time_point now) {
  const bool look = now >= next_look_;
  if (look) next_look_ = now + std::chrono::duration_cast<Clock::duration>(options_.health_interval);
  const bool out_of_time =
      draining_ && now.time_since_epoch().count() >=
                       drain_deadline_ns_.load(std::memory_order_relaxed);  // set before we drain
  someone_may_begin_ = false;
  for (Replica& replica : replicas_) {
    if (replica.MayBegin(now, OthersServe(replica))) BeginReplica(replica, now);
    if (out_of_time) replica.EndDrain(now);
    if (look) replica.Look(now);
  }
}

void Supervisor::BeginReplica(Replica& replica, Clock::time_point now) {
  if (!Attaches()) return replica.Begin(ReplicaProcess::Spawn(CommandFor(replica)), now);
  auto peer = door_.Accept();
  if (!peer.ok()) {
    // Out of descriptors, it would be polled for in vain; the next tick asks again.
    someone_may_begin_ = absl::IsDeadlineExceeded(peer.status());
    return;
  }
  auto process = ReplicaProcess::Adopt(ControlChannel(*std::move(peer)));
  if (process.ok()) return replica.Begin(std::move(process), now);
  someone_may_begin_ = true;  // the next who waits may do better
  spdlog::warn("control socket: {}", std::string(process.status().message()));
}

std::vector<std::string> Supervisor::CommandFor(const Replica& replica) const {
  std::vector<std::string> command = options_.command;
  if (options_.pin) command.push_back("--cpu=" + std::to_string(UsableCpu(replica.index())));
  return command;
}

void Supervisor::WaitForEvents(Clock::time_point now) {
  // Those who attach are polled for only while one could be let in; -1 is skipped.
  std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}, {someone_may_begin_ ? door_.fd() : -1, POLLIN, 0}};
  const size_t others = fds.size();
  std::vector<Replica*> owners;
  for (Replica& replica : replicas_) {
    if (!replica.process()) continue;
    owners.push_back(&replica);
    for (int fd :
         {replica.process().output_fd(), replica.process().control().fd(), replica.process().pidfd()}) {
      fds.push_back({fd, POLLIN, 0});
    }
  }
  if (::poll(fds.data(), fds.size(), static_cast<int>(UntilNextDeadline(now).count())) <= 0) return;
  eventfd_t ignored;
  if (fds[0].revents != 0) ::eventfd_read(wake_.get(), &ignored);
  for (size_t i = 0; i < owners.size(); ++i) {
    Replica& replica = *owners[i];
    const pollfd* its = &fds[others + 3 * i];
    // Death first: what it still has to say is heard on the way.
    if (its[2].revents != 0) {
      OnExit(replica);
      continue;
    }
    if (its[0].revents != 0) replica.LogOutput();
    if (its[1].revents != 0) replica.HearControl();
    ever_served_ |= replica.state() == ReplicaState::kServing;
  }
}

std::chrono::milliseconds Supervisor::UntilNextDeadline(Clock::time_point now) const {
  Clock::time_point next = next_look_;
  for (const Replica& replica : replicas_) {
    if (replica.state() != ReplicaState::kWaiting) continue;
    const Clock::time_point begin = replica.MayBeginAt(OthersServe(replica));
    if (begin > now) next = std::min(next, begin);  // else it waits for its lane, or for one who attaches
  }
  if (draining_) next = std::min(next, now + std::chrono::milliseconds(100));
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - now);
  return std::max(wait, std::chrono::milliseconds(0));
}

void Supervisor::OnExit(Replica& replica) {
  const GenerationEnd end = replica.OnExit(Clock::now());
  ever_served_ |= end.served;
  if (ever_served_ || draining_ || Attaches()) return;
  if (++starts_that_failed_ < kStartsThatMayFail && !end.would_say_it_again) return;
  events_.failed_start("replica " + std::to_string(replica.index()) + ": " + end.reason);
  starts_that_failed_ = std::numeric_limits<int>::min();  // told once
}

void Supervisor::TakeKillRequests() {
  std::vector<KillRequest> requests;
  {
    std::lock_guard lock(mutex_);
    requests.swap(kill_requests_);
  }
  for (KillRequest& request : requests) {
    Replica& replica = replicas_[request.replica];
    if (replica.generation() == request.generation) replica.Doom(std::move(request.reason), request.sign_at);
  }
}

void Supervisor::BeginDrain() {
  draining_ = true;
  for (Replica& replica : replicas_) replica.BeginDrain();
}

// What SIGKILL cannot end, a process stuck in a driver, must not keep the broker from leaving.
bool Supervisor::AbandonTheUndying(Clock::time_point now) {
  const auto deadline = Clock::time_point(
      Clock::duration(drain_deadline_ns_.load(std::memory_order_relaxed)));  // set before we drain
  if (now < deadline + kDying) return false;
  for (Replica& replica : replicas_) {
    if (!replica.process()) continue;
    spdlog::error("replica {}: pid {} does not end; it is left behind", replica.index(),
                  replica.process().pid());
    replica.process().Abandon();
    if (options_.device != nullptr) options_.device->LeaveToTheEnd();
  }
  return true;
}

bool Supervisor::AllStopped() const {
  for (const Replica& replica : replicas_) {
    if (replica.state() != ReplicaState::kStopped) return false;
  }
  return true;
}

bool Supervisor::OthersServe(const Replica& replica) const {
  for (const Replica& other : replicas_) {
    if (&other != &replica && other.state() == ReplicaState::kServing) return true;
  }
  return false;
}

void Supervisor::Publish(uint32_t replica, const ReplicaStatus& status) {
  uint32_t before = 0, after = 0;
  {
    std::lock_guard lock(mutex_);
    before = CountServingLocked();
    snapshot_[replica] = status;
    after = CountServingLocked();
  }
  if (before != after) events_.serving_changed(after);
}

}  // namespace zerohop

#include "broker/replicas/replica.h"

#include <spdlog/spdlog.h>

#include "broker/replicas/cpu_placement.h"

namespace zerohop {

absl::Status Replica::ReserveLaneNow() {
  auto lane = around_.lanes.MakeNow({around_.epoch, generation() + 1, index_});
  if (!lane.ok()) return lane.status();
  if (!lane->no_device.empty()) {
    return absl::FailedPreconditionError(
        "rows cannot stay on the device: no room for those of a replica (--response-arena-mib): " +
        lane->no_device);
  }
  TakeLane(*std::move(lane));
  return absl::OkStatus();
}

bool Replica::MayBegin(Clock::time_point now, bool others_serve) {
  if (state() != ReplicaState::kWaiting || now < MayBeginAt(others_serve)) return false;
  if (lane_) return true;
  auto made = around_.lanes.Take(index_);
  if (!made) return false;
  if (made->ok()) {
    TakeLane(**std::move(made));
    return true;
  }
  Begin(made->status(), now);
  return false;
}

void Replica::TakeLane(LaneMaker::Lane made) {
  lane_ = std::move(made.lane);
  no_device_ = std::move(made.no_device);
}

void Replica::Begin(absl::StatusOr<ReplicaProcess> process, Clock::time_point now) {
  if (!process.ok()) {
    const std::string problem(process.status().message());
    spdlog::error("replica {}: cannot start: {}", index_, problem);
    status_.last_death = "cannot start: " + problem;
    backoff_.OnDeath({});
    // Not sooner than in a second, even if nobody serves: what is missing seldom comes back at once.
    ended_at_ = now + std::chrono::seconds(1);
    if (!lane_) around_.lanes.Make({around_.epoch, generation() + 1, index_});
    return Publish();
  }
  process_ = *std::move(process);
  ++status_.generation;  // the lane was made for this one
  began_at_ = now;
  heartbeat_ = lane_->MakeHeartbeatReader(now);
  output_ = ReplicaOutput();
  death_.clear();
  said_hello_ = observed_ = told_failed_ = false;
  status_.pid = process_.pid();
  Move(ReplicaEvent::kSpawned);
  spdlog::info("replica {}: generation {} {}, pid {}", index_, generation(),
               process_.spawned() ? "started" : "attached", process_.pid());
}

void Replica::LogOutput() {
  const bool open = output_.Drain(process_.output_fd(), [&](const std::string& line) {
    spdlog::info("replica {}.{}: {}", index_, generation(), line);
  });
  if (!open) process_.CloseOutput();
}

void Replica::HearControl() {
  // Bounded: a replica that talks without end must not hold the supervisor.
  for (int packets = 0; packets < kPacketsAtOnce && process_ && process_.control().fd() >= 0; ++packets) {
    auto packet = process_.control().Receive(/*block=*/false);
    if (absl::IsDeadlineExceeded(packet.status())) return;
    if (absl::IsUnavailable(packet.status())) return OnHangUp();
    if (!packet.ok()) return Doom("garbage: " + std::string(packet.status().message()), Clock::now());
    OnMessage(packet->message);
  }
}

void Replica::OnMessage(const ControlMessage& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    OnHello(*hello);
  } else if (const auto* ready = std::get_if<Ready>(&message)) {
    OnReady(*ready);
  } else if (const auto* failed = std::get_if<Failed>(&message)) {
    if (state() == ReplicaState::kServing) return Doom("failed: " + failed->reason, Clock::now());
    if (std::exchange(told_failed_, true)) return Doom("garbage: failed for a second time", Clock::now());
    if (death_.empty()) death_ = failed->reason;
  } else {
    Doom("garbage: a control message that only a broker sends", Clock::now());
  }
}

void Replica::OnHello(const Hello& hello) {
  if (std::exchange(said_hello_, true)) return Doom("garbage: a second hello", Clock::now());
  if (hello.protocol != kControlProtocol) {
    return Doom("speaks control protocol " + std::to_string(hello.protocol) + ", expected " +
                    std::to_string(kControlProtocol),
                Clock::now());
  }
  const std::optional<DeviceOffer> device = OfferDevice();
  auto fds = lane_->Offer(around_.bell);
  absl::Status sent = fds.status();
  if (fds.ok()) {
    const Offer offer{index_,
                      around_.epoch,
                      generation(),
                      around_.spin_limit.count(),
                      around_.beat.count(),
                      std::chrono::nanoseconds(around_.liveness.running).count(),
                      device};
    sent = process_.control().Send(offer,
                                   {fds->broker_segment.get(), fds->replica_segment.get(), fds->bell.get()});
  }
  if (!sent.ok()) Doom(std::string(sent.message()), Clock::now());
}

// A lane may have been made before the device was lost.
std::optional<DeviceOffer> Replica::OfferDevice() {
  if (around_.device != nullptr && around_.device->lost()) {
    lane_->SetDevice(nullptr);
    no_device_ = around_.device->reason();
  }
  if (lane_->device() == nullptr) return std::nullopt;
  return DeviceOffer{lane_->device()->handle(), DeviceIsRequired()};
}

// A server that has served once goes on without a device, where it must.
bool Replica::DeviceIsRequired() const {
  return around_.device != nullptr && generation() == 1;
}

void Replica::OnReady(const Ready& ready) {
  if (state() == ReplicaState::kServing) return Doom("garbage: ready for a second time", Clock::now());
  if (state() != ReplicaState::kLoading) return;
  if (!lane_->Ready()) return Doom("garbage: ready without a ready lane", Clock::now());
  const bool by_device = ready.taken.path == ReturnPath::kCudaIpc;
  if (by_device && lane_->device() == nullptr) {
    return Doom("garbage: took a device that was not offered", Clock::now());
  }
  if (!by_device && DeviceIsRequired()) {
    return Doom("garbage: did not take the device that it must", Clock::now());
  }
  if (by_device) lane_->TakeDevice();
  const EngineInfo& info = ready.info;
  if (absl::Status accepted = around_.observer.OnServing(index_, lane_, info, PinnedCpu(process_.pid()));
      !accepted.ok()) {
    return Doom(std::string(accepted.message()), Clock::now());
  }
  observed_ = true;
  status_.info = info;
  status_.taken = ready.taken;
  if (!by_device && status_.taken.reason.empty()) status_.taken.reason = no_device_;
  served_from_ = Clock::now();
  around_.lifelines.Watch(lane_);
  Move(ReplicaEvent::kReady);
  spdlog::info("replica {}: generation {} serves; {}, {}, dim {}, rows by {}", index_, generation(),
               info.engine, info.dtype, info.dim, Name(status_.taken.path));
  if (!status_.taken.reason.empty()) {
    spdlog::warn("replica {}: rows return by the host: {}", index_, status_.taken.reason);
  }
}

// The end of a dying process comes twice, here and at the pidfd. A living one that hangs up is of no use,
// unless it belongs to another: then it may leave when it has drained, and whoever said nothing was no
// replica.
void Replica::OnHangUp() {
  process_.control().Close();
  if (!process_.spawned() && !said_hello_) return Dismiss();
  if (!process_.spawned() && state() == ReplicaState::kDraining) return (void)OnExit(Clock::now());
  Doom("", Clock::now());
}

void Replica::Dismiss() {
  process_ = ReplicaProcess();
  --status_.generation;  // its lane was never offered
  status_.pid = 0;
  Move(ReplicaEvent::kExited);
}

void Replica::Look(Clock::time_point now) {
  if (state() != ReplicaState::kLoading && state() != ReplicaState::kServing &&
      state() != ReplicaState::kDraining) {
    return;
  }
  if (!process_.spawned() && !said_hello_ && now - began_at_ > kHelloTimeout) return Dismiss();
  heartbeat_.Look(now);
  if (auto suspicion = Suspicion(heartbeat_, around_.liveness, now)) Doom(*suspicion, now);
}

void Replica::Doom(std::string reason, Clock::time_point sign_at) {
  if (!process_ || IsDoomed()) return;
  process_.Kill();
  Move(ReplicaEvent::kKill);
  TakeBackWork(sign_at);
  if (!reason.empty()) spdlog::warn("replica {}: killed: {}", index_, reason);
  if (death_.empty()) death_ = std::move(reason);
}

void Replica::TakeBackWork(Clock::time_point sign_at) {
  if (!observed_) return;
  around_.lifelines.Forget(index_);
  const TakenBack work = around_.observer.OnDoomed(index_);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - sign_at);
  spdlog::info(
      "replica {}: generation {} ends: {} shards were complete, {} go to others; {} posted within {} us",
      index_, generation(), work.committed, work.requeued, work.posted, took.count());
}

GenerationEnd Replica::OnExit(Clock::time_point now) {
  HearControl();             // a last word, such as Failed
  if (!process_) return {};  // it was no replica, or has left: dealt with on the way
  LogOutput();
  const bool told = !death_.empty(), spawned = process_.spawned();
  if (!IsDoomed()) TakeBackWork(now);  // its exit is the first sign
  std::string exit = process_.Reap();
  if (!said_hello_) exit += ", before it said hello";
  // Where it said by itself why, how it went is a matter of who was quicker.
  GenerationEnd end{observed_, told_failed_,
                    told_failed_ ? death_
                    : told       ? death_ + " (" + exit + ")"
                                 : exit};
  if (!observed_ && !told && !output_.LastLines().empty()) end.reason += ": " + output_.LastLines();
  process_ = ReplicaProcess();
  if (observed_) around_.observer.OnGone(index_, end.reason);
  around_.lanes.Unmake(std::move(lane_));  // unmapped when the last answer that refers to it has been sent
  ended_at_ = now;
  // How fast attached ones come back is their own supervisor's business, and spares may wait at the door.
  if (spawned) backoff_.OnDeath(observed_ ? now - served_from_ : Clock::duration::zero());
  observed_ = false;
  status_.pid = 0;
  status_.last_death = end.reason;
  ++status_.restarts;
  Move(ReplicaEvent::kExited);
  if (state() == ReplicaState::kStopped) return end;
  around_.lanes.Make({around_.epoch, generation() + 1, index_});
  spdlog::warn("replica {}: generation {} died: {}", index_, generation(), end.reason);
  return end;
}

void Replica::BeginDrain() {
  Move(ReplicaEvent::kDrain);
  if (!process_ || state() != ReplicaState::kDraining) return;
  // One that still loads does not listen to its worker yet, and has taken nothing.
  if (!observed_ && process_.spawned()) return Doom("", Clock::now());
  if (!observed_ || !process_.control().Send(Drain{}).ok()) return EndDrain(Clock::now());
  lane_->RingReplica();
}

void Replica::EndDrain(Clock::time_point now) {
  if (!process_) return;
  if (process_.spawned()) return Doom("did not drain in time", now);
  process_.control().Close();  // it fences itself
  (void)OnExit(now);
}

void Replica::Move(ReplicaEvent event) {
  status_.state = Next(status_.state, event);
  Publish();
}

}  // namespace zerohop

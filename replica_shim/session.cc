#include "replica_shim/session.h"

#include <sched.h>
#include <unistd.h>

#include "replica_shim/concurrent_worker.h"
#include "replica_shim/crash_point.h"
#include "replica_shim/worker.h"
#include "shm/lane.h"

namespace zerohop {
namespace {

// Keeps the calling thread on one CPU; gives it back its freedom afterwards.
class CpuPin {
 public:
  explicit CpuPin(int cpu) {
    if (cpu < 0 || ::sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    // A CPU that is gone is no reason to refuse service: the scheduler places us then.
    pinned_ = ::sched_setaffinity(0, sizeof set, &set) == 0;
  }
  ~CpuPin() {
    if (pinned_) (void)::sched_setaffinity(0, sizeof before_, &before_);
  }
  CpuPin(const CpuPin&) = delete;

 private:
  cpu_set_t before_{};
  bool pinned_ = false;
};

absl::StatusOr<ControlPacket> AskForLane(ControlChannel& control) {
  Hello hello;
  hello.pid = ::getpid();
  if (absl::Status sent = control.Send(hello); !sent.ok()) return sent;
  CrashPoint("said_hello");
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

// Unavailable is what we call a broker that is gone; a device may call itself so, too.
absl::Status OfOurOwn(const absl::Status& status) {
  return absl::IsUnavailable(status) ? absl::InternalError(status.message()) : status;
}

absl::Status ServeLane(ControlChannel& control, ReplicaLane& lane, const Offer& offer, WarmEngine& warm,
                       int cpu, WhenAlone when_alone) {
  const Lifeline lifeline(control, lane, std::chrono::nanoseconds(offer.beat_ns), when_alone);
  CrashPoint("beats");
  const CpuPin pin(cpu);  // after the side thread, which must run while the worker computes
  auto info = warm.Load();
  if (!info.ok()) return OfOurOwn(info.status());
  CrashPoint("loaded");
  auto taken = warm.BindRows(lane, offer.device);
  if (!taken.ok()) return OfOurOwn(taken.status());
  lane.MarkReady();
  CrashPoint("marked_ready");
  if (absl::Status sent = control.Send(Ready{*info, *taken}); !sent.ok()) {
    warm.ReleaseRows();
    return sent;
  }
  CrashPoint("said_ready");
  absl::Status ended =
      OfOurOwn(warm.Serve(lane, std::chrono::nanoseconds(offer.step_ns), [&] { return lifeline.orders(); }));
  warm.ReleaseRows();
  if (ended.ok() && when_alone == WhenAlone::kExit) {
    lane.heartbeat().Enter(Phase::kLoading);  // to put away what was loaded may take as long
    warm.Close();
  }
  return ended;
}

absl::Status Run(ControlChannel& control, WarmEngine& warm, int cpu, WhenAlone when_alone) {
  auto packet = AskForLane(control);
  if (!packet.ok()) return packet.status();
  CrashPoint("got_offer");
  const Offer offer = std::get<Offer>(packet->message);
  auto lane = AttachTo(*packet, offer);
  if (!lane.ok()) return lane.status();
  CrashPoint("attached");
  return ServeLane(control, *lane, offer, warm, cpu, when_alone);
}

}  // namespace

absl::StatusOr<EngineInfo> WarmEngine::Load() {
  if (info_) return *info_;
  auto engine = make_();
  if (!engine.ok()) return engine.status();
  engine_ = *std::move(engine);
  auto info = std::visit([&](auto& made) { return made->Load(options_); }, engine_);
  if (info.ok()) info_ = *info;
  return info;
}

absl::Status WarmEngine::Serve(ReplicaLane& lane, std::chrono::nanoseconds step,
                               std::function<Orders()> orders) {
  if (auto* concurrent = std::get_if<std::unique_ptr<ConcurrentEngine>>(&engine_)) {
    return ConcurrentWorker(lane, **concurrent, *info_, step, std::move(orders)).Serve();
  }
  DeviceRows* rows = rows_ ? &*rows_ : nullptr;
  return Worker(lane, *std::get<std::unique_ptr<Engine>>(engine_), *info_, std::move(orders), rows).Serve();
}

absl::StatusOr<ReturnVerdict> WarmEngine::BindRows(const ReplicaLane& lane,
                                                   const std::optional<DeviceOffer>& offer) {
  ReturnVerdict taken;
  auto* engine = std::get_if<std::unique_ptr<Engine>>(&engine_);
  if (engine == nullptr || (*engine)->device() == nullptr) {
    if (!offer) return taken;
    taken.reason = "the engine's rows are born on the host";
    if (offer->required) return absl::FailedPreconditionError(taken.reason);
    return taken;
  }
  auto rows = DeviceRows::Make(**engine, lane, offer, &taken);
  if (!rows.ok()) return rows.status();
  rows_.emplace(*std::move(rows));
  return taken;
}

void WarmEngine::ReleaseRows() {
  if (rows_) (void)rows_->Land();  // what still writes to them
  rows_.reset();
}

void WarmEngine::Close() {
  std::visit([](auto& engine) { engine->Close(); }, engine_);
}

absl::Status RunSession(ControlChannel& control, WarmEngine& engine, int cpu, WhenAlone when_alone) {
  absl::Status ended = Run(control, engine, cpu, when_alone);
  // The reason goes where it is read.
  if (!ended.ok() && !absl::IsUnavailable(ended)) (void)control.Send(Failed{std::string(ended.message())});
  return ended;
}

}  // namespace zerohop

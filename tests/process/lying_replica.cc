// lying-replica: a replica that lies, for tests/process/liar_test.py.
//
// An honest one, from the shim's own parts, but for one generation of one replica, which tells one lie:
//   --liar=INDEX --lying-generation=N --lie=NAME   who lies, when, and how (tests/process/liar/)
//   --lie-while=FILE                               only while this file exists
// All other flags are the replica's. Where the broker offers a device, its rows are born there. What is left
// out on purpose: rows that hold wrong floats, were never written or are those of earlier requests, and
// rejections of prompts that are right. Nobody can tell those from the truth.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>

#include "replica_shim/lifeline.h"
#include "replica_shim/replica_options.h"
#include "replica_shim/worker.h"
#include "shm/lifeline_word.h"
#include "tests/process/device/device_echo_engine.h"
#include "tests/process/liar/lie.h"

namespace zerohop {
namespace {

struct LiarOptions {
  uint32_t liar = 0;
  uint64_t generation = 1;
  std::string lie;
  std::string lie_while;
  std::vector<char*> others;  // of the replica
};

LiarOptions ParseLiarOptions(int argc, char** argv) {
  LiarOptions options;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word(argv[i]);
    const auto value = [&](std::string_view flag) { return std::string(word.substr(flag.size())); };
    if (word.starts_with("--liar=")) {
      options.liar = static_cast<uint32_t>(std::stoul(value("--liar=")));
    } else if (word.starts_with("--lying-generation=")) {
      options.generation = std::stoull(value("--lying-generation="));
    } else if (word.starts_with("--lie=")) {
      options.lie = value("--lie=");
    } else if (word.starts_with("--lie-while=")) {
      options.lie_while = value("--lie-while=");
    } else {
      options.others.push_back(argv[i]);
    }
  }
  return options;
}

const Lie* FindLie(std::string_view name) {
  for (const Lie* lie : {FindMemoryLie(name), FindRecordLie(name), FindTalkLie(name), FindDeviceLie(name)}) {
    if (lie != nullptr) return lie;
  }
  return nullptr;
}

// A side thread that is the shim's, or one that stops beating when the trigger is pulled. Either ends the
// process when the broker is gone.
class SideThread {
 public:
  SideThread(Stage& stage, const Offer& offer, bool beats) {
    const std::chrono::nanoseconds beat(offer.beat_ns);
    if (beats) {
      lifeline_.emplace(stage.control, stage.lane, beat, WhenAlone::kExit);
    } else {
      std::thread([&stage] { BeatUntilTriggered(stage); }).detach();
    }
  }
  Orders orders() const { return lifeline_ ? lifeline_->orders() : Orders::kServe; }

 private:
  static void BeatUntilTriggered(Stage& stage) {
    const LifelineHolder holder(stage.lane.lifeline_word());
    for (;;) {
      if (!stage.trigger.Pulled()) stage.lane.heartbeat().Beat();
      pollfd socket{stage.control.fd(), POLLIN, 0};
      if (::poll(&socket, 1, 50) > 0 && (socket.revents & POLLHUP) != 0) ::_exit(0);
    }
  }
  std::optional<Lifeline> lifeline_;
};

// Takes what comes, works for show, and completes nothing.
[[noreturn]] void HoldForever(Stage& stage) {
  for (Submission submission;;) {
    if (stage.lane.TakeSubmission(&submission) != RingResult::kDone) {
      stage.lane.WaitForWork(std::chrono::milliseconds(20));
    }
    stage.lane.heartbeat().Enter(Phase::kRunning);
  }
}

[[noreturn]] void Rest() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// At once, without a destructor: threads that lie still use the stage.
[[noreturn]] void End(const absl::Status& why) {
  if (!why.ok()) std::fprintf(stderr, "%s\n", std::string(why.message()).c_str());
  std::fflush(nullptr);
  ::_exit(why.ok() ? 0 : 1);
}

absl::Status Play(Stage& stage, const Lie& lie, const EngineInfo& info, const SideThread& side) {
  const auto orders = [&] { return side.orders(); };
  if (const auto* beside = std::get_if<Beside>(&lie)) {
    std::thread([&stage, tell = beside->tell] {
      stage.trigger.Await(true);
      tell(stage);
    }).detach();
    if (!beside->serves) Rest();
    return Worker(stage.lane, stage.engine, info, orders, stage.rows).Serve();
  }
  if (std::holds_alternative<Claim>(lie)) HoldForever(stage);
  Hand hand(stage);
  for (Submission submission; orders() == Orders::kServe;) {
    const bool lying = stage.trigger.Pulled();
    if (const auto* flow = std::get_if<Flow>(&lie); flow != nullptr && lying) {
      flow->tell(stage, hand);
      continue;
    }
    if (!hand.Take(&submission)) continue;
    const auto* record = std::get_if<Record>(&lie);
    Completion completion{};
    if (lying && record != nullptr && !record->writes_rows) {
      completion.cookie = submission.cookie;
      completion.slot = submission.slot;
      completion.rows = submission.rows;
    } else {
      completion = hand.Answer(submission);
    }
    if (lying && record != nullptr) {
      Confess();
      record->tell(stage, submission, &completion);
    }
    (void)hand.Publish(completion);
  }
  return absl::OkStatus();
}

absl::Status ServeLane(const LiarOptions& lies, ControlChannel& control, ControlPacket& packet,
                       const EngineOptions& options) {
  const Offer offer = std::get<Offer>(packet.message);
  const bool liar = offer.replica == lies.liar && offer.generation == lies.generation;
  RawLane raw(packet.fds);
  LaneOffer fds{std::move(packet.fds[0]), std::move(packet.fds[1]), std::move(packet.fds[2])};
  auto lane = ReplicaLane::Attach(std::move(fds), {offer.epoch, offer.generation, offer.replica},
                                  std::chrono::nanoseconds(offer.spin_ns));
  if (!lane.ok()) return lane.status();
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      offer.device ? MakeDeviceEchoEngine() : MakeEngine(options);
  if (!engine.ok()) return engine.status();
  auto info = (*engine)->Load(options);
  if (!info.ok()) return info.status();
  Ready ready{*info};
  std::optional<DeviceRows> rows;
  if (offer.device) {
    auto made = DeviceRows::Make(**engine, *lane, offer.device, &ready.taken);
    if (!made.ok()) return made.status();
    rows.emplace(*std::move(made));
  }
  const Lie* lie = FindLie(lies.lie);
  if (lie == nullptr) return absl::InvalidArgumentError("no lie is called '" + lies.lie + "'");
  const auto* claim = std::get_if<Claim>(lie);
  const auto* beside = std::get_if<Beside>(lie);
  const Trigger trigger(lies.lie_while);
  Stage stage{trigger, raw, *lane, control, **engine, rows ? &*rows : nullptr};
  const SideThread side(stage, offer, !liar || beside == nullptr || beside->beats);
  // The first generation of the honest waits until the first word was the liar's.
  if (!liar && offer.generation == 1 && claim != nullptr && trigger.Pulled()) trigger.Await(false);
  if (liar && claim != nullptr && trigger.Pulled()) claim->tell(&ready);
  if (!liar || claim == nullptr || claim->marks_ready) lane->MarkReady();
  if (liar && claim != nullptr) Confess();
  if (absl::Status sent = control.Send(ready); !sent.ok()) return sent;
  if (liar) End(Play(stage, *lie, ready.info, side));
  return Worker(
             *lane, **engine, ready.info, [&] { return side.orders(); }, stage.rows)
      .Serve();
}

absl::Status Serve(const LiarOptions& lies, ControlChannel& control, const ReplicaOptions& options) {
  Hello hello;
  hello.pid = ::getpid();
  if (absl::Status sent = control.Send(hello); !sent.ok()) return sent;
  auto packet = control.Receive(/*block=*/true);
  if (!packet.ok()) return packet.status();
  if (!std::holds_alternative<Offer>(packet->message) || packet->fds.size() != 3) {
    return absl::InvalidArgumentError("expected the offer of a lane");
  }
  return ServeLane(lies, control, *packet, options.engine);
}

[[noreturn]] void Main(int argc, char** argv) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  LiarOptions lies = ParseLiarOptions(argc, argv);
  const auto options = ParseReplicaOptions(static_cast<int>(lies.others.size()), lies.others.data());
  ::fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  ControlChannel control{UniqueFd(kControlFd)};
  End(options.ok() ? Serve(lies, control, *options) : options.status());
}

}  // namespace
}  // namespace zerohop

int main(int argc, char** argv) {
  zerohop::Main(argc, argv);
}

// zerohop: an embedding server for one host.
//   zerohop serve   the server: this file shows how it is put together
//   zerohop embed   texts in, vectors out, from a shell
//   zerohop info    what a running server says of its replicas and consumers
//   zerohop doctor  which way rows would come back from a GPU here

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/synchronization/mutex.h"
#include "broker/client/client_commands.h"
#include "broker/consumers/consumer_desk.h"
#include "broker/doctor/doctor.h"
#include "broker/front/grpc_front.h"
#include "broker/lanes/copy_engine.h"
#include "broker/lanes/lane_thread.h"
#include "broker/options/serve_options.h"
#include "broker/replicas/device_return.h"
#include "broker/replicas/memory_budget.h"
#include "broker/replicas/supervisor.h"
#include "broker/router/router.h"
#include "broker/shutdown_signal.h"
#include "shm/cuda/surroundings.h"

namespace zerohop {
namespace {

// What replicas get to leave, even when the requests took the whole drain time.
constexpr std::chrono::nanoseconds kReplicaLeave = std::chrono::seconds(1);

// A start that failed: one sentence, and a non-zero exit.
int Refuse(const absl::Status& why) {
  std::fprintf(stderr, "zerohop serve: %s\n", std::string(why.message()).c_str());
  return 1;
}

// What the process needs of its surroundings before it has threads.
void PrepareProcess() {
  std::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would have the kernel reap our replicas
  std::signal(SIGPIPE, SIG_IGN);  // a log reader that goes away must not end the server
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes shows as an error of the reservation
  // Else every lock within gRPC is looked up in a graph of locks: a twelfth of what a request costs.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;  // connections are descriptors; the soft limit is often 1024
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

absl::Status CheckRoom(const ServeOptions& options) {
  const LaneGeometry& geometry = options.supervisor.geometry;
  const LaneOffsets at = OffsetsOf(geometry);
  const uint64_t landing = options.device.cuda_ipc ? geometry.response_arena_bytes : 0;
  return CheckMemory(options.supervisor.replicas, at.broker_bytes + at.replica_bytes + landing,
                     AvailableMemoryBytes());
}

// Null where rows return by the host.
absl::StatusOr<std::unique_ptr<DeviceReturn>> OpenDevice(const DeviceOptions& options,
                                                         std::chrono::nanoseconds deadline) {
  if (!options.cuda_ipc) return nullptr;
  auto device = CudaDevice::Open(options.choice);
  if (!device.ok()) {
    return absl::FailedPreconditionError("rows cannot stay on the device: " +
                                         std::string(device.status().message()));
  }
  const Surroundings surroundings = ReadSurroundings();
  const ReturnVerdict verdict = JudgeIpc((*device)->facts(), surroundings);
  if (verdict.path != ReturnPath::kCudaIpc) {
    return absl::FailedPreconditionError("rows cannot stay on the device: " + verdict.reason);
  }
  if (surroundings.mps)
    spdlog::warn("MPS is in use: a replica that has to be killed may harm others on the GPU");
  return std::make_unique<DeviceReturn>(*std::move(device), deadline);
}

absl::StatusOr<std::unique_ptr<CopyEngine>> CopyEngineFor(DeviceReturn* device, const BrokerBell& bell) {
  if (device == nullptr) return nullptr;
  return CopyEngine::Create(*device, bell.ringer());
}

// Null where no consumers are served.
absl::StatusOr<std::unique_ptr<ConsumerDesk>> OpenConsumerDesk(const ConsumerOptions& options, Router& router,
                                                               CopyEngine* copies, DeviceReturn* device) {
  if (options.socket.empty()) return nullptr;
  return ConsumerDesk::Open(options, router, *copies, *device);
}

// Declaration order is lifetime: what comes later stops first.
int Serve(int argc, char** argv) {
  const ServeOptions options = ParseServeOrExit(argc, argv);
  spdlog::set_pattern("[%Y-%m-%d %H:%M:%S.%f] [%^%l%$] %v");  // microseconds: deaths are a matter of them
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  PrepareProcess();
  ShutdownSignal shutdown;
  if (absl::Status room = CheckRoom(options); !room.ok()) return Refuse(room);
  auto bell = BrokerBell::Create();
  if (!bell.ok()) return Refuse(bell.status());

  auto device = OpenDevice(options.device, options.router.step_timeout);
  if (!device.ok()) return Refuse(device.status());
  auto copies = CopyEngineFor(device->get(), *bell);
  if (!copies.ok()) return Refuse(copies.status());

  Router router(options.router, *bell);
  router.SetCopyEngine(copies->get());
  SupervisorOptions supervisor_options = options.supervisor;
  supervisor_options.device = device->get();
  auto supervisor = Supervisor::Create(supervisor_options, *bell, router);
  if (!supervisor.ok()) return Refuse(supervisor.status());
  auto consumers = OpenConsumerDesk(options.consumers, router, copies->get(), device->get());
  if (!consumers.ok()) return Refuse(consumers.status());
  const Attendance attendance(router, bell->MakeAttendant(), options.lone_spin);
  GrpcFrontOptions front_options = options.front;
  if (*consumers) front_options.consumers = [&desk = **consumers] { return desk.Status(); };
  auto front = GrpcFront::Create(front_options, router, **supervisor, attendance);
  if (!front.ok()) return Refuse(front.status());

  router.SetCourier(&(*front)->courier());
  LaneThread lane_thread(router, *bell, options.lane_spin);
  router.SetKiller([&](uint32_t replica, uint64_t generation, std::string reason) {
    (*supervisor)->RequestKill(replica, generation, std::move(reason));
  });
  (*supervisor)
      ->Start({.failed_start = [&](const std::string& reason) { shutdown.Ask(reason); },
               .serving_changed = [&](uint32_t serving) { (*front)->SetHealthy(serving > 0); }});
  (*front)->Serve();
  spdlog::info("listening on {}:{}, model {}", options.front.host, (*front)->port(),
               options.front.served_model);

  const std::string failure = shutdown.Wait();
  spdlog::info("draining");
  router.BeginLeaving();
  const auto deadline = std::chrono::steady_clock::now() + options.drain_timeout;
  (*front)->Drain(failure.empty() ? options.drain_timeout : std::chrono::nanoseconds(0));
  if (*consumers) {
    (*consumers)
        ->Drain(failure.empty() ? deadline - std::chrono::steady_clock::now() : std::chrono::nanoseconds(0));
  }
  (*supervisor)->Drain(std::max(deadline - std::chrono::steady_clock::now(), kReplicaLeave));
  if (!failure.empty()) return Refuse(absl::InternalError(failure));
  spdlog::info("stopped");
  return 0;
}

constexpr char kUsage[] =
    "zerohop: an embedding server for one host\n\n"
    "Usage: zerohop COMMAND [flags]\n\n"
    "  serve   start the server\n"
    "  embed   embed texts given as arguments or on stdin, one a line\n"
    "  info    show what a running server says of itself\n"
    "  doctor  tell which way rows would come back from a GPU here, and why\n\n"
    "`zerohop COMMAND --help` explains the flags of one command.\n";

int Main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "serve") return Serve(argc - 1, argv + 1);
  if (command == "embed") return Embed(argc - 1, argv + 1);
  if (command == "info") return Info(argc - 1, argv + 1);
  if (command == "doctor") return Doctor(argc - 1, argv + 1);
  const bool help = command == "--help" || command == "-h" || command == "help";
  std::fputs(kUsage, help ? stdout : stderr);
  return help ? 0 : 2;
}

}  // namespace
}  // namespace zerohop

int main(int argc, char** argv) {
  return zerohop::Main(argc, argv);
}

#include "broker/doctor/import_probe.h"

#include <poll.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <variant>

#include "broker/replicas/replica_output.h"
#include "broker/replicas/replica_process.h"
#include "shm/cuda/device_arena.h"
#include "shm/poll_timeout.h"

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;

// Whether the process is a zombie by then.
bool EndsWithin(const ReplicaProcess& process, std::chrono::nanoseconds patience) {
  const auto deadline = Clock::now() + patience;
  pollfd gone{process.pidfd(), POLLIN, 0};
  int found;
  do {
    found = ::poll(&gone, 1, PollTimeout(deadline));
  } while (found < 0 && errno == EINTR);
  return found > 0;
}

// Of a process that has ended. It says why it failed before it exits, unless it could not.
absl::Status AnswerOf(ReplicaProcess& process) {
  auto packet = process.control().Receive(/*block=*/false);
  ReplicaOutput output;
  (void)output.Drain(process.output_fd(), [](const std::string&) {});
  const std::string end = process.Reap();
  if (packet.ok()) {
    if (const auto* failed = std::get_if<Failed>(&packet->message)) {
      return absl::FailedPreconditionError(failed->reason);
    }
  }
  if (end == "exit 0") return absl::OkStatus();
  const std::string lines = output.LastLines();
  return absl::InternalError("the process that opened exported memory ended with " + end +
                             (lines.empty() ? "" : ": " + lines));
}

absl::Status Open(const ArenaHandle& handle) {
  auto device = CudaDevice::Open(handle.device);
  if (!device.ok()) return device.status();
  return ImportedArena::Open(*device, handle).status();
}

}  // namespace

absl::Status ProbeImport(const std::shared_ptr<const CudaDevice>& device, std::chrono::nanoseconds patience) {
  auto arena = DeviceArena::Export(device, kDeviceBlockBytes);
  if (!arena.ok()) return arena.status();
  auto process = ReplicaProcess::Spawn({"/proc/self/exe", "doctor", kOpenExportFlag});
  if (!process.ok()) return process.status();
  Offer offer;
  offer.device = DeviceOffer{arena->handle(), /*required=*/true};
  // Fails where the process has ended already, and how it ended says more.
  (void)process->control().Send(offer);
  if (EndsWithin(*process, patience)) return AnswerOf(*process);
  const std::string hangs =
      "the process that opens exported memory hangs: no answer within " +
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(patience).count()) + " ms";
  process->Kill();
  if (EndsWithin(*process, patience)) {
    (void)process->Reap();
    return absl::DeadlineExceededError(hangs);
  }
  process->Abandon();
  device->Abandon();
  return absl::DeadlineExceededError(hangs + ", and it does not end when it is killed");
}

int OpenExport() {
  ControlChannel exporter{UniqueFd(kControlFd)};
  auto packet = exporter.Receive(/*block=*/true);
  const auto* offer = packet.ok() ? std::get_if<Offer>(&packet->message) : nullptr;
  if (offer == nullptr || !offer->device) {
    std::fprintf(stderr, "zerohop doctor: %s is for the processes that it starts by itself\n",
                 kOpenExportFlag);
    return 2;
  }
  const absl::Status opened = Open(offer->device->arena);
  if (opened.ok()) return 0;
  (void)exporter.Send(Failed{std::string(opened.message())});
  return 1;
}

}  // namespace zerohop

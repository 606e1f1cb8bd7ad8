#include "broker/consumers/consumer_desk.h"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "shm/poll_timeout.h"

namespace zerohop {
namespace {

// Each has memory of the device to itself.
constexpr size_t kMostConsumers = 64;
// While requests are under way: whether the device is lost is not told, it is looked at.
constexpr int kBetweenLooksMs = 200;
// What consumers get, at the end, to let go of their arenas.
constexpr std::chrono::seconds kMostLeaving(1);

}  // namespace

absl::StatusOr<std::unique_ptr<ConsumerDesk>> ConsumerDesk::Open(const ConsumerOptions& options,
                                                                 Router& router, CopyEngine& copies,
                                                                 DeviceReturn& device) {
  auto door = LocalDoor::Open(options.socket);
  if (!door.ok()) return door.status();
  auto mailbox = std::make_shared<Mailbox>();
  if (mailbox->fd() < 0) return absl::ResourceExhaustedError("no descriptor is left for --consumer-socket");
  // Not make_unique: only we may make one.
  return std::unique_ptr<ConsumerDesk>(
      new ConsumerDesk(*std::move(door), {router, copies, device, options.arena_bytes, std::move(mailbox)}));
}

ConsumerDesk::~ConsumerDesk() {
  Drain(std::chrono::nanoseconds(0));
}

void ConsumerDesk::Drain(std::chrono::nanoseconds at_most) {
  if (!thread_.joinable()) return;
  // EDGE(leave) release, by the second: whoever sees the request sees until when.
  drain_until_ns_.store(std::chrono::nanoseconds((Clock::now() + at_most).time_since_epoch()).count(),
                        std::memory_order_relaxed);
  drain_requested_.store(true, std::memory_order_release);
  around_.mailbox->Ring();
  thread_.join();
}

void ConsumerDesk::Run() {
  auto wake_at = Clock::time_point::max();
  for (;;) {
    WaitForEvents(wake_at);
    for (const RequestEnd& end : around_.mailbox->TakeAll()) {
      const auto consumer = std::find_if(consumers_.begin(), consumers_.end(),
                                         [&](const auto& c) { return c->number() == end.consumer; });
      if (consumer != consumers_.end()) (*consumer)->OnEnd(end);
    }
    for (const auto& consumer : consumers_) {
      consumer->SendUnsent();
      consumer->Hear([this](const Consumer& who) { return FindArena(who); });
      if (around_.device.lost()) consumer->OnDeviceLost();
    }
    around_.router.RingReplicas();  // once for all that was submitted
    ForgetTheGone();
    // EDGE(leave) acquire: the deadline is there
    around_.draining = drain_requested_.load(std::memory_order_acquire);
    if (!around_.draining) LetIn();
    wake_at = EndOverdue();
    TellStatus();  // last: what it tells holds until something else happens
    if (around_.draining && MayEnd(Clock::now())) break;
  }
  const bool some_open = std::any_of(consumers_.begin(), consumers_.end(), [](const auto& consumer) {
    return consumer->MayHaveArenaOpen() && !consumer->IsGone();
  });
  if (some_open) around_.device.LeaveToTheEnd();
  consumers_.clear();
}

// When the next will be.
ConsumerDesk::Clock::time_point ConsumerDesk::EndOverdue() {
  auto next = Clock::time_point::max();
  for (const auto& consumer : consumers_) next = std::min(next, consumer->EndOverdue(Clock::now()));
  return next;
}

// Until someone comes, speaks, may be written to or ends, or a request has; at most until `wake_at`.
void ConsumerDesk::WaitForEvents(Clock::time_point wake_at) {
  std::vector<pollfd> events{{around_.mailbox->fd(), POLLIN, 0}};
  if (!around_.draining && !IsFull() && !out_of_descriptors_) events.push_back({door_.fd(), POLLIN, 0});
  for (const auto& consumer : consumers_) {
    events.push_back({consumer->pidfd(), POLLIN, 0});
    if (consumer->left()) continue;
    const bool writes = consumer->WantsToWrite();
    events.push_back({consumer->socket_fd(), static_cast<short>(writes ? POLLIN | POLLOUT : POLLIN), 0});
  }
  if (leaving_ || out_of_descriptors_ || HasRequests()) {
    wake_at = std::min(wake_at, Clock::now() + std::chrono::milliseconds(kBetweenLooksMs));
  }
  (void)::poll(events.data(), events.size(), PollTimeout(wake_at));
}

void ConsumerDesk::LetIn() {
  while (!IsFull()) {
    auto socket = door_.Accept();
    out_of_descriptors_ = absl::IsResourceExhausted(socket.status());
    if (!socket.ok()) return;
    auto process = socket->Peer();
    if (!process.ok()) {
      spdlog::warn("a consumer is not let in: {}", std::string(process.status().message()));
      continue;
    }
    consumers_.push_back(std::make_unique<Consumer>(++last_number_, *std::move(socket), *std::move(process),
                                                    around_, Clock::now()));
  }
}

// Of one that has left, and has no memory of ours, nothing need be known; of another its process must be
// gone.
void ConsumerDesk::ForgetTheGone() {
  std::erase_if(consumers_, [](const auto& consumer) {
    const bool gone = consumer->IsGone();
    if (gone && consumer->MayHaveArenaOpen())
      spdlog::info("consumer {}: process {} is gone", consumer->number(), consumer->pid());
    return gone || (consumer->left() && !consumer->HasArena());
  });
}

// A copy, so that nobody who asks waits for a turn: one in which an arena is made may be long.
void ConsumerDesk::TellStatus() {
  std::lock_guard lock(status_mutex_);
  status_.consumers.clear();
  for (const auto& consumer : consumers_) {
    if (consumer->TakesAPlace()) status_.consumers.push_back(consumer->Status());
  }
  status_.counts = around_.counts;
  status_.let_go = around_.let_go;
}

DeskStatus ConsumerDesk::Status() const {
  std::lock_guard lock(status_mutex_);
  return status_;
}

// The same process has come again: while it lives its number is nobody else's.
ConsumerArena ConsumerDesk::FindArena(const Consumer& consumer) {
  for (const auto& other : consumers_) {
    if (other->pid() != consumer.pid() || other->IsGone()) continue;
    if (ConsumerArena arena = other->TakeArena()) return arena;
  }
  return nullptr;
}

bool ConsumerDesk::HasRequests() const {
  return std::any_of(consumers_.begin(), consumers_.end(), [](const auto& c) { return c->HasRequests(); });
}

void ConsumerDesk::BeginLeaving() {
  leaving_ = true;
  left_at_ = Clock::now();
  for (const auto& consumer : consumers_) consumer->BeginLeaving();
}

bool ConsumerDesk::IsFull() const {
  const auto taken =
      std::count_if(consumers_.begin(), consumers_.end(), [](const auto& c) { return c->TakesAPlace(); });
  return static_cast<size_t>(taken) >= kMostConsumers;
}

// Requests first; then those who wait for more hear that nothing will come, and let go of their arenas.
bool ConsumerDesk::MayEnd(Clock::time_point now) {
  const std::chrono::nanoseconds until(drain_until_ns_.load(std::memory_order_relaxed));
  if (!leaving_ && (!HasRequests() || now.time_since_epoch() >= until)) BeginLeaving();
  if (!leaving_ || now > left_at_ + kMostLeaving) return leaving_;
  return std::none_of(consumers_.begin(), consumers_.end(),
                      [](const auto& c) { return c->MayHaveArenaOpen() || c->HasRequests(); });
}

}  // namespace zerohop

#pragma once

// ConsumerDesk: where processes of this host that want their embeddings on the
// device are served: one thread that lets them in at a door, hears them, and
// tells them where their rows lie.
//
// A consumer's rows are gathered into an arena of its own, so that one that keeps
// its leases, lies or dies takes nothing from lanes and other consumers.

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "broker/consumers/consumer.h"
#include "shm/local_door.h"

namespace zerohop {

struct ConsumerOptions {
  std::string socket;        // where they connect; empty: there are none
  uint64_t arena_bytes = 0;  // of each consumer; a power of two
};

class ConsumerDesk {
 public:
  // AlreadyExists and others: the socket cannot be made. What is named outlives this.
  static absl::StatusOr<std::unique_ptr<ConsumerDesk>> Open(const ConsumerOptions& options, Router& router,
                                                            CopyEngine& copies, DeviceReturn& device);
  // Whoever has an arena open then leaves the device's memory to the end of the process.
  ~ConsumerDesk();

  // Lets nobody in any more, waits until the requests that were accepted have ended, at most so long; then
  // gives consumers a moment to let go of their arenas.
  void Drain(std::chrono::nanoseconds at_most);

  // As of the end of the thread's last turn. On any thread, at once.
  DeskStatus Status() const;

 private:
  using Clock = std::chrono::steady_clock;

  ConsumerDesk(LocalDoor door, ConsumerSurroundings around)
      : door_(std::move(door)), around_(std::move(around)), thread_([this] { Run(); }) {}

  void Run();
  Clock::time_point EndOverdue();
  void WaitForEvents(Clock::time_point wake_at);
  void LetIn();
  void BeginLeaving();
  void ForgetTheGone();
  void TellStatus();
  bool HasRequests() const;
  bool IsFull() const;
  bool MayEnd(Clock::time_point now);
  ConsumerArena FindArena(const Consumer& consumer);

  LocalDoor door_;
  ConsumerSurroundings around_;
  std::vector<std::unique_ptr<Consumer>> consumers_;
  uint64_t last_number_ = 0;
  bool leaving_ = false;
  Clock::time_point left_at_;        // nothing more is given from then on
  bool out_of_descriptors_ = false;  // the door would be polled in vain
  std::atomic<bool> drain_requested_{false};
  std::atomic<int64_t> drain_until_ns_{0};
  mutable std::mutex status_mutex_;
  DeskStatus status_;
  std::thread thread_;
};

}  // namespace zerohop

// Lies told by writing into shared memory.

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <thread>

#include "tests/process/liar/lie.h"

namespace zerohop {
namespace {

using Bytes = std::span<std::byte>;

void WriteByte(Bytes where, size_t at, uint64_t value) {
  auto* byte = reinterpret_cast<uint8_t*>(&where[at]);
  std::atomic_ref<uint8_t>(*byte).store(static_cast<uint8_t>(value), std::memory_order_relaxed);
}

// Random bytes at random places, as many in each part, slow and fast by turns.
void Scribble(const std::vector<Bytes>& parts, const std::function<bool()>& go_on) {
  std::mt19937_64 random(std::random_device{}());
  constexpr int kNapsUs[] = {1000, 10, 100};
  for (int turn = 0; go_on(); ++turn) {
    Confess();
    for (int i = 0; i < 300; ++i) {
      const Bytes part = parts[i % parts.size()];
      WriteByte(part, random() % part.size(), random());
    }
    std::this_thread::sleep_for(std::chrono::microseconds(kNapsUs[turn / 64 % 3]));
  }
}

bool Always() {
  return true;
}

// Calls `write` with random bits, again and again.
std::function<void(Stage&)> Keep(void (*write)(RawLane& raw, uint64_t bits)) {
  return [write](Stage& stage) {
    std::mt19937_64 random(std::random_device{}());
    Confess();
    for (;;) {
      for (int i = 0; i < 50; ++i) write(stage.raw, random());
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  };
}

void Wake(std::atomic<uint32_t>* word) {
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Lie ServesAnd(std::function<void(Stage&)> tell) {
  return Beside{std::move(tell)};
}
Lie OnlyTells(std::function<void(Stage&)> tell) {
  return Beside{std::move(tell), /*serves=*/false};
}

// Once, in place of the next look at the ring; what was taken before is completed.
Lie MovesOnce(void (*move)(ReplicaLines& lines)) {
  return Flow{[move](Stage& stage, Hand& hand) {
    Submission submission;
    while (!hand.Take(&submission)) {
    }
    (void)hand.Publish(hand.Answer(submission));
    Confess();
    move(stage.raw.lines());
    stage.lane.RingBroker();
    for (;;) {
      stage.lane.heartbeat().Enter(Phase::kRunning);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }};
}

// The child keeps the memory and writes into it when the replica is dead; it ends with the trigger.
void LeaveAGrandchild(Stage& stage) {
  const pid_t liar = ::getpid();
  if (const pid_t child = ::fork(); child != 0) {
    std::printf("grandchild %d\n", child);
    std::fflush(stdout);
    Confess();
    ::kill(liar, SIGKILL);
  }
  ::setsid();  // the broker ends the whole process group of a replica
  ::alarm(120);
  while (::getppid() == liar) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ::syscall(SYS_close_range, 0, ~0u, 0);
  Scribble({stage.raw.own(), stage.raw.words(), stage.raw.cells(), stage.raw.bell()},
           [&] { return stage.trigger.Pulled(); });
  ::_exit(0);
}

// What the seals and the rights of the descriptors must refuse.
void BreakSeals(Stage& stage) {
  const auto expect_refused = [](const char* what, bool refused) {
    if (!refused) std::printf("SEAL BROKEN: %s\n", what);
  };
  const RawLane& raw = stage.raw;
  for (const int fd : {raw.broker_fd(), raw.own_fd(), raw.bell_fd()}) {
    expect_refused("cut", ::ftruncate(fd, 0) != 0);
    expect_refused("grown", ::ftruncate(fd, 1 << 30) != 0);
    expect_refused("sealed", ::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0);
  }
  const std::string path = "/proc/self/fd/" + std::to_string(raw.broker_fd());
  const UniqueFd writable(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (writable) {
    const uint64_t word = ~uint64_t{0};
    expect_refused("written", ::pwrite(writable.get(), &word, sizeof word, 0) < 0);
    expect_refused("punched", ::fallocate(writable.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                          kPageBytes) != 0);
    expect_refused("mapped",
                   ::mmap(nullptr, kPageBytes, PROT_WRITE, MAP_SHARED, writable.get(), 0) == MAP_FAILED);
  }
  std::fflush(stdout);
  Confess();
}

void PunchHoles(Stage& stage) {
  Confess();  // the first hole may be the death of it
  for (;;) {
    (void)::madvise(stage.raw.own().data(), stage.raw.own().size(), MADV_REMOVE);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Dead by its own words, and alive.
void ClaimDeath(Stage& stage) {
  std::atomic<uint32_t>* word = &stage.raw.lines().lifeline.value;
  Confess();
  word->fetch_or(FUTEX_OWNER_DIED, std::memory_order_relaxed);
  Wake(word);
}

const std::map<std::string_view, Lie>& Lies() {
  static const std::map<std::string_view, Lie> lies{
      {"scribble_everything", OnlyTells([](Stage& stage) {
         Scribble({stage.raw.own(), stage.raw.words(), stage.raw.cells(), stage.raw.bell()}, Always);
       })},
      {"scribble_words_and_cells", ServesAnd([](Stage& stage) {
         Scribble({stage.raw.words(), stage.raw.cells(), stage.raw.bell()}, Always);
       })},
      {"scribble_completion_cells", ServesAnd([](Stage& stage) {
         // A byte a cell at most in a turn: a record that looks right but for one field is the better lie.
         Scribble({stage.raw.cells()}, Always);
       })},
      {"scribble_positions", ServesAnd(Keep([](RawLane& raw, uint64_t bits) {
         auto& lines = raw.lines();
         (bits % 2 == 0 ? lines.submission_head : lines.completion_tail)
             .value.store(bits % 8 < 4 ? bits : bits % 1024, std::memory_order_relaxed);
       }))},
      {"scribble_heartbeat", ServesAnd(Keep([](RawLane& raw, uint64_t bits) {
         HeartbeatSlot& slot = raw.lines().heartbeat;
         slot.beat.store(bits % 5 == 0 ? 0 : bits, std::memory_order_relaxed);
         slot.progress.store(bits * 3, std::memory_order_relaxed);
         slot.phase.store(bits % 2 == 0 ? bits % 4 : bits, std::memory_order_relaxed);
       }))},
      {"scribble_lifeline", ServesAnd(Keep([](RawLane& raw, uint64_t bits) {
         raw.lines().lifeline.value.store(bits & ~FUTEX_OWNER_DIED, std::memory_order_relaxed);
         Wake(&raw.lines().lifeline.value);
       }))},
      {"scribble_bell", ServesAnd([](Stage& stage) { Scribble({stage.raw.bell().first(256)}, Always); })},
      {"scribble_sleeping_flags", ServesAnd(Keep([](RawLane& raw, uint64_t bits) {
         raw.lines().submission_sleeping.value.store(bits % 4, std::memory_order_relaxed);
         raw.bell_lines().sleeping.value.store(bits / 4 % 4, std::memory_order_relaxed);
       }))},
      {"rings_without_end", ServesAnd(Keep([](RawLane& raw, uint64_t) {
         raw.bell_lines().rings.value.fetch_add(1, std::memory_order_seq_cst);
         Wake(&raw.bell_lines().rings.value);
       }))},
      {"claims_death", ServesAnd(ClaimDeath)},
      {"punch_holes", OnlyTells(PunchHoles)},
      {"break_seals", ServesAnd(BreakSeals)},
      {"stops_beating", Beside{[](Stage&) { Confess(); }, /*serves=*/true, /*beats=*/false}},
      {"leaves_a_grandchild", OnlyTells(LeaveAGrandchild)},
      // A position is moved once.
      {"head_far_ahead", MovesOnce([](ReplicaLines& l) { l.submission_head.value.fetch_add(1u << 20); })},
      {"head_ahead_by_one", MovesOnce([](ReplicaLines& l) { l.submission_head.value.fetch_add(1); })},
      {"head_backwards", MovesOnce([](ReplicaLines& l) { l.submission_head.value.store(0); })},
      {"tail_ahead_by_one", MovesOnce([](ReplicaLines& l) { l.completion_tail.value.fetch_add(1); })},
      {"tail_far_ahead", MovesOnce([](ReplicaLines& l) { l.completion_tail.value.fetch_add(1u << 20); })},
      {"tail_ahead_by_a_ring", MovesOnce([](ReplicaLines& l) { l.completion_tail.value.fetch_add(1024); })},
      {"tail_backwards", MovesOnce([](ReplicaLines& l) { l.completion_tail.value.fetch_sub(2); })},
      {"tail_wraps", MovesOnce([](ReplicaLines& l) { l.completion_tail.value.store(~uint64_t{0}); })},
  };
  return lies;
}

}  // namespace

const Lie* FindMemoryLie(std::string_view name) {
  const auto found = Lies().find(name);
  return found == Lies().end() ? nullptr : &found->second;
}

}  // namespace zerohop

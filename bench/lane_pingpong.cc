// Two processes that hand one message to and fro, and what a turn takes.
//
// Question: what does a lane cost, beside the bare primitive that it is made of?
// Load:     one message at a time: 64 bytes there, --floats back; every byte is
//           written by one process and read by the other. As fast as it goes,
//           or --rate of them a second, each at its time.
// Baseline: --way spin and --way futex: two words, on lines of their own, on
//           which the processes spin or sleep, and the same bytes beside them.
// Machine:  each process is pinned to a CPU of its own where there are two;
//           only ratios within a run of lane.py count.
//
// --way lane is what broker and replica do: submission, ring and bell there;
// the row in the response arena, completion, ring and bell back; the completion
// is checked as the broker checks it. Whoever waits spins with a rate of 0, and
// sleeps otherwise. Prints one JSON line; exit 1 for a wrong answer.

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/latency_histogram.h"
#include "bench/pingpong_ends.h"
#include "bench/process_cpu.h"
#include "shm/lane.h"

namespace zerohop::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct PingpongOptions {
  std::string way = "lane";                   // lane, spin or futex
  uint32_t floats = 768;                      // of an answer
  double rate = 0;                            // messages/s; 0: the next as soon as the last is back
  std::chrono::duration<double> warmup{0.2};  // not counted
  std::chrono::duration<double> seconds{1};   // counted
  std::vector<int> cpus;                      // of the asking and of the answering process
};

template <typename T>
T Need(absl::StatusOr<T> value) {
  if (!value.ok()) Fail(std::string(value.status().message()));
  return *std::move(value);
}

// Both processes map it: how many messages there will be, once that is known.
using Last = std::atomic<uint32_t>;

template <typename End>
void AnswerAll(End& end, const Last& last) {
  for (uint32_t number = 1; number != last.load(std::memory_order_relaxed); ++number) {
    end.Receive(number);
    end.Send(number);
  }
}

struct Turns {
  LatencyHistogram taken;           // from before a message is written until its answer was read
  std::chrono::nanoseconds cpu{0};  // of both processes, while they were counted
};

// Number `last` is the first that is not sent: it is told before the message that comes before it.
template <typename End>
Turns AskAll(End& end, pid_t answering, Last& last, const PingpongOptions& options) {
  const auto interval = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.rate > 0 ? 1 / options.rate : 0));
  const Clock::time_point begin = Clock::now();
  const auto counted_from = begin + std::chrono::duration_cast<Clock::duration>(options.warmup);
  const auto until = counted_from + std::chrono::duration_cast<Clock::duration>(options.seconds);
  const pid_t both[] = {getpid(), answering};
  Turns turns;
  std::chrono::nanoseconds cpu_before{0};
  Clock::time_point sent_at = begin;
  for (uint32_t number = 1; sent_at < until; ++number) {
    if (options.rate > 0) std::this_thread::sleep_until(begin + number * interval);
    sent_at = Clock::now();
    if (sent_at >= until) {
      turns.cpu = CpuTimeOf(both) - cpu_before;
      last.store(number + 1, std::memory_order_relaxed);
    }
    end.Send(number);
    end.Receive(number);
    if (sent_at < counted_from) continue;
    if (turns.taken.total() == 0) cpu_before = CpuTimeOf(both);
    turns.taken.Record(Clock::now() - sent_at);
  }
  return turns;
}

void Pin(const std::vector<int>& cpus, size_t which) {
  if (cpus.size() < 2) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpus[which]), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    Fail("cannot run on CPU " + std::to_string(cpus[which]) + ": " + std::strerror(errno));
  }
}

// Runs `answer` in a process of its own, and `ask`, which is told its id, in this one.
template <typename Ask, typename Answer>
Turns InTwoProcesses(const std::vector<int>& cpus, Ask ask, Answer answer) {
  // Else the other side would be waited for, for ever.
  signal(SIGCHLD, [](int) {
    int status = 0;
    if (waitpid(-1, &status, WNOHANG) > 0 && status != 0) _exit(1);
  });
  const pid_t asking = getpid();
  const pid_t child = fork();
  if (child < 0) Fail(std::string("cannot fork: ") + std::strerror(errno));
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != asking) _exit(1);
    Pin(cpus, 1);
    answer();
    _exit(0);
  }
  Pin(cpus, 0);
  const Turns turns = ask(child);
  // Waited for, so that whoever runs us knows its CPU time for ours.
  int status = 0;
  if (waitpid(child, &status, 0) > 0 && status != 0) _exit(1);
  return turns;
}

Turns Measure(const PingpongOptions& options) {
  struct Shared {
    WordPair words;
    Last last{0};
  };
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) Fail("there is no memory to share");
  auto& shared = *new (memory) Shared;
  const bool sleeps = options.rate > 0 || options.way == "futex";
  if (options.way != "lane") {
    constexpr uint32_t kRequestWords = kRequestBytes / sizeof(uint32_t);
    WordEnd asking(shared.words.there, shared.words.back, kRequestWords, options.floats, sleeps);
    WordEnd answering(shared.words.back, shared.words.there, options.floats, kRequestWords, sleeps);
    return InTwoProcesses(
        options.cpus, [&](pid_t child) { return AskAll(asking, child, shared.last, options); },
        [&] { AnswerAll(answering, shared.last); });
  }
  const LaneIdentity identity{.epoch = 1, .generation = 1, .replica = 0};
  const BrokerBell bell = Need(BrokerBell::Create());
  BrokerLane lane = Need(BrokerLane::Create(identity, LaneGeometry()));
  LaneOffer offer = Need(lane.Offer(bell));
  return InTwoProcesses(
      options.cpus,
      [&](pid_t child) {
        BrokerEnd end(lane, bell, options.floats, sleeps);
        return AskAll(end, child, shared.last, options);
      },
      [&] {
        ReplicaLane attached = Need(ReplicaLane::Attach(std::move(offer), identity, kSpinLimit));
        ReplicaEnd end(attached, options.floats);
        AnswerAll(end, shared.last);
      });
}

std::vector<int> FirstTwoCpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < 2; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

PingpongOptions ParseOrExit(int argc, char** argv) {
  PingpongOptions options;
  double warmup = options.warmup.count(), seconds = options.seconds.count();
  CLI::App app(
      "Hands messages to and fro between two processes and prints one JSON line of what a turn took");
  app.add_option("--way", options.way, "lane, spin or futex")
      ->check(CLI::IsMember({"lane", "spin", "futex"}));
  app.add_option("--floats", options.floats, "of an answer")->check(CLI::Range(1u, kMaxAnswerFloats));
  app.add_option("--rate", options.rate, "messages/s; 0: the next as soon as the last is back");
  app.add_option("--warmup", warmup, "seconds before counting");
  app.add_option("--seconds", seconds, "seconds counted");
  app.add_option("--cpus", options.cpus, "CPU of the asking and of the answering process: A,B")
      ->delimiter(',')
      ->expected(2);
  try {
    app.parse(argc, argv);
    if (options.way == "spin" && options.rate > 0) {
      throw CLI::ValidationError("--rate", "spin is as fast as it goes; the way that sleeps is futex");
    }
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  options.warmup = std::chrono::duration<double>(warmup);
  options.seconds = std::chrono::duration<double>(seconds);
  if (options.cpus.empty()) options.cpus = FirstTwoCpus();
  if (options.cpus.size() < 2 && options.rate == 0 && options.way != "futex") {
    Fail("two processes that spin need two CPUs; there is one, and only --way futex and --rate make sense");
  }
  return options;
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  using namespace zerohop::bench;
  const PingpongOptions options = ParseOrExit(argc, argv);
  const Turns turns = Measure(options);
  const auto messages = static_cast<double>(turns.taken.total());
  const nlohmann::ordered_json line = {
      {"way", options.way},
      {"answer_bytes", options.floats * sizeof(float)},
      {"rate", options.rate},
      {"cpus", options.cpus},
      {"seconds", options.seconds.count()},
      {"messages", turns.taken.total()},
      {"p50_ns", turns.taken.Micros(0.5) * 1e3},
      {"p99_ns", turns.taken.Micros(0.99) * 1e3},
      {"max_ns", turns.taken.LongestMicros() * 1e3},
      {"cpu_ns_per_message", static_cast<double>(turns.cpu.count()) / std::max(messages, 1.0)},
  };
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

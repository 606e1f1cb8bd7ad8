#include "broker/options/serve_options.h"

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>

#include "broker/options/model_folder.h"
#include "broker/options/replica_command.h"
#include "broker/replicas/cpu_placement.h"

namespace zerohop {
namespace {

using std::chrono::nanoseconds;

// With two completion queues of gRPC's a request costs twice the CPU that it costs with one. So whoever asks
// for several, as scripts of the manager may, does not get many.
constexpr int kCpusPerFrontThread = 8;
constexpr std::chrono::microseconds kBrokerSpin(50);
constexpr std::chrono::microseconds kLookAwake(80);     // a client's turn, where few requests are in flight
constexpr std::chrono::microseconds kReplicaSpin(150);  // longer: a client's turn lies in between
constexpr int kSilentIntervals = 5;  // health intervals without a beat before a replica is suspect

// The flags as they are written; durations in seconds, sizes in MiB.
struct Flags {
  std::string host = "0.0.0.0";
  int port = 50050;
  int num_replicas = 4;
  std::string load_balancing = "shared_queue";
  double health_interval = 1;
  double forward_timeout = 120;
  double startup_timeout = 120;
  double step_timeout = 60;
  double drain_timeout = 30;
  int workers = 1;
  EngineChoice engine;
  std::string served_model_name;
  std::string spin = "auto";
  uint64_t max_queue = 4096;
  uint64_t max_queue_prompts = 1 << 20;
  uint64_t max_queue_mib = 2048;
  uint64_t request_arena_mib = 32;
  uint64_t response_arena_mib = 64;
  std::string log_level = "info";
  std::string replica_mode = "spawn";
  std::string control_socket;
  std::string return_path = "auto";
  std::string consumer_socket;
  uint64_t lease_arena_mib = 64;
};

void DescribeServing(CLI::App& app, Flags& f) {
  app.add_option("--host", f.host, "Address to listen on")->group("Serving");
  app.add_option("--port", f.port, "Port to listen on; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->group("Serving");
  app.add_option("--workers", f.workers,
                 "Most threads that receive requests; no more than one for each 8 CPUs is used")
      ->check(CLI::Range(1, 256))
      ->group("Serving");
  app.add_option("--served-model-name", f.served_model_name,
                 "What requests must call the model; by default as --model gives it")
      ->group("Serving");
  app.add_option("--forward-timeout", f.forward_timeout,
                 "Seconds from a request's arrival to its answer, retries included")
      ->check(CLI::Range(0.001, 1e6))
      ->group("Serving");
  app.add_option("--drain-timeout", f.drain_timeout, "Seconds that accepted requests get after SIGTERM")
      ->check(CLI::Range(0.0, 1e6))
      ->group("Serving");
  app.add_option("--max-queue", f.max_queue, "Most requests accepted and not answered; more are refused")
      ->group("Serving");
  app.add_option("--max-queue-prompts", f.max_queue_prompts, "Most prompts in them")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->group("Serving");
  app.add_option("--max-queue-mib", f.max_queue_mib, "Most MiB of their texts and answers")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 30))
      ->group("Serving");
  app.add_option("--log-level", f.log_level, "What is logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group("Serving");
}

void DescribeReplicas(CLI::App& app, Flags& f) {
  app.add_option("--num-replicas", f.num_replicas, "Engine processes; one per core is usually best on a CPU")
      ->check(CLI::Range(1, 256))
      ->group("Replicas");
  app.add_option("--load-balancing", f.load_balancing, "Which replica gets the next work")
      ->check(CLI::IsMember({"shared_queue", "round_robin", "least_loaded", "random", "power_of_two"}))
      ->group("Replicas");
  app.add_option("--health-interval", f.health_interval, "Seconds between looks at the replicas' heartbeats")
      ->check(CLI::Range(0.001, 1e6))
      ->group("Replicas");
  app.add_option("--startup-timeout", f.startup_timeout, "Seconds that a replica may take to load")
      ->check(CLI::Range(0.001, 1e6))
      ->group("Replicas");
  app.add_option("--step-timeout", f.step_timeout,
                 "Seconds that one pass over the model may take; a shard gets as many of them as it may need")
      ->check(CLI::Range(0.001, 1e6))
      ->group("Replicas");
  app.add_option("--request-arena-mib", f.request_arena_mib,
                 "Shared memory for prompts, per replica; a power of two")
      ->group("Replicas");
  app.add_option("--response-arena-mib", f.response_arena_mib,
                 "Shared memory for embeddings, per replica; a power of two")
      ->group("Replicas");
  app.add_option("--spin", f.spin,
                 "auto: wait awake for a moment where that shortens answers; off: sleep at once")
      ->check(CLI::IsMember({"auto", "off"}))
      ->group("Replicas");
  app.add_option("--replica-mode", f.replica_mode,
                 "spawn: start the replicas; attach: they are started by others, with --connect")
      ->check(CLI::IsMember({"spawn", "attach"}))
      ->group("Replicas");
  app.add_option("--control-socket", f.control_socket,
                 "attach: path of the unix socket that replicas connect to; made with mode 0600")
      ->group("Replicas");
  app.add_option("--replica-program", f.engine.program,
                 "Program to run as replica; by default the one that the engine needs")
      ->group("Replicas");
}

void DescribeEngine(CLI::App& app, Flags& f) {
  app.add_option("--engine", f.engine.engine,
                 "openvino (CPU), echo (no model; for benchmarks); in Python: vllm, sentence-transformers, "
                 "module:Class, or a script.py of your own")
      ->group("Engine");
  app.add_option("--model", f.engine.model,
                 std::string("A folder, or a name: ") + kDefaultModel +
                     " (default), or one in the local Hugging Face cache")
      ->group("Engine");
  app.add_option("--dtype", f.engine.dtype, "auto: what is fastest here; openvino has float32 and bfloat16")
      ->group("Engine");
  app.add_option("--device", f.engine.device,
                 "Engines on a GPU: its UUID or ordinal; by default theirs to choose")
      ->group("Engine");
  app.add_option(
         "--return", f.return_path,
         "How rows come from an engine on a GPU; host: the replica copies them; cuda_ipc: they stay on "
         "the device, and the server copies them; auto: cuda_ipc with --consumer-socket, else host")
      ->check(CLI::IsMember({"auto", "host", "cuda_ipc"}))
      ->group("Engine");
  app.add_option("--consumer-socket", f.consumer_socket,
                 "Path of the unix socket where processes on this GPU get embeddings that stay on it; "
                 "made with mode 0600")
      ->group("Engine");
  app.add_option("--lease-arena-mib", f.lease_arena_mib,
                 "Memory of the device for embeddings that one such process holds; a power of two")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 20))
      ->group("Engine");
  app.add_option("--threads", f.engine.threads, "Compute threads per replica")
      ->check(CLI::Range(1, 1024))
      ->group("Engine");
  app.add_option("--batch-tokens", f.engine.batch_tokens,
                 "openvino: most tokens, padding included, of one pass over the model; 0: its own choice")
      ->check(CLI::Range(0, 1 << 20))
      ->group("Engine");
  app.add_option(
         "--python", f.engine.python,
         "Interpreter of engines in Python; by default that of the active virtual environment, else python3")
      ->group("Engine");
}

[[noreturn]] void Refuse(const std::string& sentence) {
  std::fprintf(stderr, "zerohop serve: %s\n", sentence.c_str());
  std::exit(2);
}

// CLI11 would take the next word as the value.
void RefuseEmptyValues(const CLI::App& app, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word(argv[i]);
    if (!word.ends_with('=')) continue;
    const std::string flag = word.substr(0, word.size() - 1);
    if (app.get_option_no_throw(flag) != nullptr) Refuse(flag + ": expected a value after '='");
  }
}

Flags ParseOrExit(int argc, char** argv) {
  Flags f;
  CLI::App app(
      "Serves embeddings of one model over gRPC, from several engine processes on this host.\n"
      "Flags that are not listed go to the engine.",
      "zerohop serve");
  app.set_config("--config", "", "File with the same names, one `name = value` a line");
  app.allow_extras();
  app.allow_config_extras(
      CLI::config_extras_mode::error);  // a misspelt name in a file must not pass in silence
  app.get_formatter()->column_width(40);
  app.option_defaults()->always_capture_default();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as callers' scripts expect
  DescribeServing(app, f);
  DescribeReplicas(app, f);
  DescribeEngine(app, f);
  RefuseEmptyValues(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    std::exit(app.exit(help));
  } catch (const CLI::ParseError& error) {
    Refuse(error.what());
  }
  f.engine.flags = app.remaining();
  return f;
}

nanoseconds Seconds(double seconds) {
  return nanoseconds(static_cast<int64_t>(seconds * 1e9));
}

SupervisorOptions SupervisorFrom(const Flags& f, nanoseconds spin) {
  const bool attach = f.replica_mode == "attach";
  if (attach == f.control_socket.empty()) {
    Refuse(attach ? "--replica-mode attach needs --control-socket PATH, where replicas connect"
                  : "--control-socket is for --replica-mode attach; spawned replicas need none");
  }
  if (attach && f.engine.batch_tokens > 0) {
    Refuse("--batch-tokens: with --replica-mode attach, flags of the engine belong to the replicas");
  }
  if (attach && !f.engine.flags.empty()) {
    Refuse("nobody takes " + f.engine.flags.front() +
           ": with --replica-mode attach, flags of the engine belong to the replicas");
  }
  SupervisorOptions options;
  if (!attach) {
    auto command = ReplicaCommand(f.engine);
    if (!command.ok()) Refuse(std::string(command.status().message()));
    options.command = *std::move(command);
  }
  options.control_socket = f.control_socket;
  options.replicas = static_cast<uint32_t>(f.num_replicas);
  // All threads of a replica would share the CPU that its main thread is pinned to: so would those of a
  // library in Python, and the compute threads beside the first. Engines that compute have a CPU to
  // themselves or none; echo does not compute.
  options.pin = f.engine.engine == "echo" ||
                (f.engine.engine == "openvino" && f.engine.threads == 1 && f.num_replicas <= UsableCpus());
  options.geometry.request_arena_bytes = f.request_arena_mib << 20;
  options.geometry.response_arena_bytes = f.response_arena_mib << 20;
  options.health_interval = Seconds(f.health_interval);
  options.liveness.beat =
      std::max<nanoseconds>(std::chrono::seconds(2), kSilentIntervals * options.health_interval);
  options.liveness.loading = Seconds(f.startup_timeout);
  options.liveness.running = Seconds(f.step_timeout);
  options.spin_limit = spin;
  return options;
}

DeviceOptions DeviceFrom(const Flags& f) {
  DeviceOptions options;
  // For answers that leave the host, cuda_ipc gains nothing; consumers need it.
  options.cuda_ipc = f.return_path == "cuda_ipc" || (f.return_path == "auto" && !f.consumer_socket.empty());
  if (options.cuda_ipc && f.replica_mode == "attach") {
    Refuse(
        "--return cuda_ipc and --consumer-socket are for spawned replicas: attached ones outlive the memory "
        "that they would open");
  }
  if (!f.engine.device.empty()) options.choice = f.engine.device;
  return options;
}

ConsumerOptions ConsumersFrom(const Flags& f) {
  if (!f.consumer_socket.empty() && f.return_path == "host") {
    Refuse(
        "--consumer-socket is not for --return host: embeddings that come to the host are not on the device");
  }
  if (!std::has_single_bit(f.lease_arena_mib)) {
    Refuse("--lease-arena-mib: expected a power of two, got " + std::to_string(f.lease_arena_mib));
  }
  return {f.consumer_socket, f.lease_arena_mib << 20};
}

}  // namespace

ServeOptions ParseServeOrExit(int argc, char** argv) {
  const Flags f = ParseOrExit(argc, argv);
  const int cpus = UsableCpus();
  // Spinning takes a core from someone. The lane thread may only where one is left beside engines and front;
  // replicas, and the front for their answer, do so only while a single request is in the house, for which
  // two cores suffice. For the next request the front does so where engines are fast and have nothing to do.
  const bool core_to_spare = cpus > f.num_replicas * f.engine.threads + 1;
  const bool may_spin = cpus > 1 && f.spin == "auto";
  ServeOptions options;
  options.supervisor = SupervisorFrom(f, may_spin ? nanoseconds(kReplicaSpin) : nanoseconds(0));
  if (absl::Status valid = Validate(options.supervisor.geometry); !valid.ok())
    Refuse(std::string(valid.message()));
  options.device = DeviceFrom(f);
  options.consumers = ConsumersFrom(f);
  options.router.replicas = options.supervisor.replicas;
  options.router.cpus = CountCpus();
  options.router.policy = *ParsePolicy(f.load_balancing);
  options.router.admission = {f.max_queue, f.max_queue_prompts, f.max_queue_mib << 20};
  options.router.forward_timeout = Seconds(f.forward_timeout);
  options.router.step_timeout = Seconds(f.step_timeout);
  const bool bare_ipv6 = f.host.find(':') != std::string::npos && f.host.front() != '[';
  options.front.host = bare_ipv6 ? "[" + f.host + "]" : f.host;
  options.front.port = f.port;
  options.front.threads = std::min(f.workers, std::max(1, cpus / kCpusPerFrontThread));
  options.front.policy = f.load_balancing;
  options.front.served_model =
      f.served_model_name.empty() ? DefaultServedModel(f.engine) : f.served_model_name;
  options.lane_spin = core_to_spare && may_spin ? nanoseconds(kBrokerSpin) : nanoseconds(0);
  options.lone_spin = may_spin ? nanoseconds(kBrokerSpin) : nanoseconds(0);
  options.router.may_stay_awake = may_spin;
  // Several threads would look at one epoll set.
  options.front.look_awake =
      may_spin && options.front.threads == 1 ? nanoseconds(kLookAwake) : nanoseconds(0);
  options.drain_timeout = Seconds(f.drain_timeout);
  options.log_level = f.log_level;
  return options;
}

}  // namespace zerohop

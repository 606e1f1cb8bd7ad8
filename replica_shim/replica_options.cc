#include "replica_shim/replica_options.h"

#include <CLI/CLI.hpp>

namespace zerohop {

absl::StatusOr<ReplicaOptions> ParseReplicaOptions(int argc, char** argv) {
  ReplicaOptions options;
  EngineOptions& engine = options.engine;
  CLI::App app(
      "One replica of a Zerohop server; started by `zerohop serve`, or attached to it with --connect.");
  app.allow_extras();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--engine", engine.engine, "openvino or echo");
  app.add_option("--model", engine.model, "folder of the model");
  app.add_option("--dtype", engine.dtype)->check(CLI::IsMember({"auto", "float32", "bfloat16"}));
  app.add_option("--threads", engine.threads, "compute threads")->check(CLI::Range(1, 1024));
  app.add_option("--batch-tokens", engine.batch_tokens, "openvino: most tokens of a pass; 0: its own choice")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--device", engine.device, "engines on a GPU: its UUID or ordinal");
  app.add_option("--cpu", options.place.cpu, "pin to this CPU");
  app.add_option("--connect", options.place.connect,
                 "attach to the broker with this --control-socket, again and again");
  app.add_option("--echo-dim", engine.echo_dim, "floats per embedding")->check(CLI::Range(1, 65536));
  app.add_option("--echo-delay-us", engine.echo_delay_us, "duration of one pass")
      ->check(CLI::Range(0, 60'000'000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    std::exit(app.exit(help));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(std::string("engine flags: ") + error.what());
  }
  if (!app.remaining().empty()) {
    return absl::InvalidArgumentError("nobody takes " + app.remaining().front());
  }
  return options;
}

}  // namespace zerohop

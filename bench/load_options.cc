#include "bench/load_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <vector>

namespace zerohop::bench {
namespace {

// "K" or "LOW-HIGH". False: neither.
bool ParsePrompts(const std::string& text, LoadOptions& options) {
  char* end = nullptr;
  options.prompts_low = options.prompts_high = static_cast<int>(std::strtol(text.c_str(), &end, 10));
  if (*end == '-') options.prompts_high = static_cast<int>(std::strtol(end + 1, &end, 10));
  return *end == '\0' && options.prompts_low >= 1 && options.prompts_high >= options.prompts_low;
}

}  // namespace

LoadOptions ParseLoadOptionsOrExit(int argc, char** argv) {
  LoadOptions options;
  std::string prompts = "1";
  double warmup = options.warmup.count(), seconds = options.seconds.count();
  double drain = options.drain.count(), wait_ready = 0, deadline = 0;
  std::vector<std::string> tolerate;
  CLI::App app("Sends Encode requests and prints one JSON line of what came back");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("target", options.target, "HOST:PORT or unix:PATH");
  app.add_option("--model", options.model, "model_name of every request");
  app.add_option("--channels", options.channels, "connections (4)")->check(CLI::Range(1, 20000));
  app.add_flag("--rotate", options.rotate, "each request over the next channel, not each call over its own");
  app.add_option("--threads", options.threads, "client threads, a completion queue each (1)")
      ->check(CLI::Range(1, 64));
  app.add_option("--concurrency", options.concurrency,
                 "requests in flight; with --rate, the most of them (1)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--rate", options.rate,
                 "open loop: requests/s with Poisson arrivals, timed from when each was due");
  app.add_option("--prompts", prompts, "prompts per request: K or LOW-HIGH (1)");
  app.add_option("--text-chars", options.text_chars, "length of the text, without --corpus (40)")
      ->check(CLI::Range(0, 64 << 20));
  app.add_option("--corpus", options.corpus, "file with a text a line, sent in seeded random order")
      ->check(CLI::ExistingFile);
  app.add_option("--seed", options.seed, "of every random choice (1)");
  app.add_option("--warmup", warmup, "seconds before counting (1)");
  app.add_option("--seconds", seconds, "seconds counted (5); 0 with --wait-ready only waits");
  app.add_option("--drain", drain, "seconds to wait for the last answers (30)");
  app.add_option("--deadline", deadline, "seconds that each request gives itself (0: no deadline)");
  app.add_option("--wait-ready", wait_ready,
                 "first wait so many seconds for an Encode to succeed (0: not at all)");
  app.add_flag("--verify", options.verify,
               "check id, error, prompts, blobs and blob lengths of every answer");
  app.add_option("--tolerate", tolerate, "status codes that do not make the run fail")->take_all();
  app.add_option("--cpu-of", options.cpu_of, "PID,PID…: report their CPU time per answer while counting")
      ->delimiter(',');
  try {
    app.parse(argc, argv);
    if (!ParsePrompts(prompts, options)) {
      throw CLI::ValidationError("--prompts", "expected K or LOW-HIGH, got " + prompts);
    }
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  using Seconds = std::chrono::duration<double>;
  options.warmup = Seconds(warmup);
  options.seconds = Seconds(seconds);
  options.drain = Seconds(drain);
  options.wait_ready = Seconds(wait_ready);
  options.deadline = Seconds(deadline);
  options.tolerate = {tolerate.begin(), tolerate.end()};
  return options;
}

}  // namespace zerohop::bench

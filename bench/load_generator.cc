// Load on one server, and what came back, as one JSON line.
//
// Question: how many requests a second, and how long does each take, at this load?
// Load:     closed loop (--concurrency) or open loop (--rate) of raw Encode
//           requests over --channels connections from --threads client threads.
// Baseline: none of its own: hop_free.py, whole_server.py and overload.py run
//           it against both sides of a comparison in turn.
// Machine:  it shares the cores with the server, so only ratios taken beside
//           each other mean something.
//
// Exit: 0, or 1 when an answer was wrong, an error not tolerated or the server
// never ready.

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bench/load_options.h"
#include "bench/load_run.h"
#include "bench/request_pool.h"

namespace zerohop::bench {
namespace {

nlohmann::ordered_json Describe(const LoadOptions& options, const LoadResult& result) {
  const double seconds = options.seconds.count();
  const auto micros_per_answer = [&](std::chrono::nanoseconds cpu) {
    return static_cast<double>(cpu.count()) / 1e3 /
           static_cast<double>(std::max<uint64_t>(result.answered, 1));
  };
  nlohmann::ordered_json errors = nlohmann::ordered_json::array();
  for (const auto& [code, some] : result.errors) {
    errors.push_back({{"code", code}, {"text", some.text}, {"count", some.count}});
  }
  nlohmann::ordered_json wrong = nlohmann::ordered_json::array();
  for (const auto& [reason, count] : result.wrong) wrong.push_back({{"reason", reason}, {"count", count}});
  return {
      {"target", options.target},
      {"loop", options.rate > 0 ? "open" : "closed"},
      {"concurrency", options.concurrency},
      {"rate", options.rate},
      {"channels", options.channels},
      {"rotate", options.rotate},
      {"prompts_low", options.prompts_low},
      {"prompts_high", options.prompts_high},
      {"seconds", seconds},
      {"requests", result.requests},
      {"requests_per_second", static_cast<double>(result.requests) / seconds},
      {"prompts_per_second", static_cast<double>(result.prompts) / seconds},
      {"p50_us", result.latency.Micros(0.5)},
      {"p90_us", result.latency.Micros(0.9)},
      {"p99_us", result.latency.Micros(0.99)},
      {"p999_us", result.latency.Micros(0.999)},
      {"max_us", result.latency.LongestMicros()},
      {"refused", result.refusals.total()},
      {"refusal_p50_us", result.refusals.Micros(0.5)},
      {"refusal_p99_us", result.refusals.Micros(0.99)},
      {"sent", result.sent},
      {"held_back", result.held_back},
      {"server_cpu_us_per_request", micros_per_answer(result.server_cpu)},
      {"client_cpu_us_per_request", micros_per_answer(result.client_cpu)},
      {"errors", errors},
      {"wrong", wrong},
  };
}

// Thousands of connections are as many files.
void AllowManyFiles() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

bool Failed(const LoadOptions& options, const LoadResult& result) {
  if (!result.wrong.empty()) return true;
  for (const auto& [code, some] : result.errors) {
    if (!options.tolerate.contains(code)) return true;
  }
  return false;
}

int Generate(const LoadOptions& options) {
  AllowManyFiles();
  const RequestPool pool(options);
  const Channels channels = OpenChannels(options);
  if (options.wait_ready.count() > 0) {
    if (const auto failure = WaitUntilReady(options, pool, channels.front()); failure.has_value()) {
      std::fprintf(stderr, "load_generator: %s not ready after %g s: %s\n", options.target.c_str(),
                   options.wait_ready.count(), failure->c_str());
      return 1;
    }
  }
  if (options.seconds.count() <= 0) return 0;
  const LoadResult result = RunLoad(options, pool, channels);
  std::printf("%s\n", Describe(options, result).dump().c_str());
  return Failed(options, result) ? 1 : 0;
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  const auto options = zerohop::bench::ParseLoadOptionsOrExit(argc, argv);
  try {
    return zerohop::bench::Generate(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_generator: %s\n", error.what());
    return 1;
  }
}

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

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

nlohmann::ordered_json Describe(const LoadOptions& options, const LoadResult& result, double client_cpu) {
  const double seconds = options.seconds.count();
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
      {"client_cpu_us_per_request",
       result.sent == 0 ? 0 : client_cpu * 1e6 / static_cast<double>(result.sent)},
      {"errors", errors},
      {"wrong", wrong},
  };
}

bool Failed(const LoadOptions& options, const LoadResult& result) {
  if (!result.wrong.empty()) return true;
  for (const auto& [code, some] : result.errors) {
    if (!options.tolerate.contains(code)) return true;
  }
  return false;
}

int Generate(const LoadOptions& options) {
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
  const double cpu_before = CpuSeconds();
  const LoadResult result = RunLoad(options, pool, channels);
  std::printf("%s\n", Describe(options, result, CpuSeconds() - cpu_before).dump().c_str());
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

// The limit: what the engine does when nothing serves it.
//
// Question: how many sentences a second can these cores embed, and how long
//           does one short text take, with no server around the engine?
// Load:     a file of texts, a process per core, each pinned and with one
//           thread, as replicas are. Batches are cut by the replica's own
//           batcher, for which all texts wait at once, and run in shuffled
//           order, whole passes over the file, tokenizing included.
//           --single: one text at a time.
// Baseline: this is the baseline of whole_server.py.
// Machine:  every process reports its own rate; they are added up.
//
// Prints one JSON line.

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/latency_histogram.h"
#include "replica_shim/engine.h"
#include "replica_shim/packing.h"

namespace zerohop::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Batch = std::vector<Prompt*>;

// Texts per call while only lengths are wanted.
constexpr size_t kTokenizeTogether = 32;

struct AloneOptions {
  EngineOptions engine;
  std::string corpus;
  int processes = 0;    // 0: one per usable core
  double warmup = 0.5;  // seconds before counting
  double seconds = 5;   // at least; a pass begun is finished
  bool single = false;  // batches of one, in file order
  int most = 0;  // prompts per batch, where callers offer fewer than the engine takes; 0: its own limit
};

// What a process sends to its parent.
struct AloneResult {
  bool failed = true;
  double seconds = 0;
  uint64_t sentences = 0;
  uint64_t tokens = 0;            // special tokens included, padding not
  uint64_t padded_tokens = 0;     // as the model computed them
  double p50_us = 0, p99_us = 0;  // of one batch
};

AloneOptions ParseOrExit(int argc, char** argv) {
  AloneOptions options;
  CLI::App app("Runs the engine without a server and prints one JSON line");
  app.add_option("--engine", options.engine.engine, "openvino or echo");
  app.add_option("--model", options.engine.model, "model folder");
  app.add_option("--dtype", options.engine.dtype, "auto, float32 or bfloat16");
  app.add_option("--corpus", options.corpus, "file with a text a line")->required()->check(CLI::ExistingFile);
  app.add_option("--processes", options.processes, "0: one per usable core");
  app.add_option("--warmup", options.warmup, "seconds before counting");
  app.add_option("--seconds", options.seconds, "seconds counted, at least");
  app.add_option("--most", options.most, "prompts per batch at most; 0: what the engine asks for");
  app.add_flag("--single", options.single, "one text at a time, as one caller with short queries sees it");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

std::vector<int> UsableCores() {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void PinTo(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

[[noreturn]] void Die(const std::string& reason) {
  std::fprintf(stderr, "engine_alone: %s\n", reason.c_str());
  _exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Die(std::string(status.message()));
}

// Texts, the prompts that name them and the rows that take their embeddings.
struct Workload {
  std::vector<std::string> texts;
  std::vector<Prompt> prompts;
  std::vector<float> rows;
  std::vector<Batch> batches;
  uint64_t padded_tokens = 0;  // of all batches
};

void ReadTexts(const std::string& path, uint32_t dim, Workload& work) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) work.texts.push_back(line);
  if (work.texts.empty()) Die("no texts in " + path);
  work.prompts.resize(work.texts.size());
  work.rows.resize(work.texts.size() * dim);
  for (size_t i = 0; i < work.texts.size(); ++i) {
    work.prompts[i].text = work.texts[i];
    work.prompts[i].row = std::span(work.rows).subspan(i * dim, dim);
  }
}

std::vector<uint32_t> LengthsOf(std::span<Prompt* const> prompts) {
  std::vector<uint32_t> lengths;
  for (const Prompt* prompt : prompts) lengths.push_back(prompt->length);
  return lengths;
}

// What the model computes for a batch, but for what PadPrompts rounds.
uint64_t PaddedTokens(const Batch& batch, uint32_t token_cost) {
  const std::vector<uint32_t> lengths = LengthsOf(batch);
  if (token_cost > 0) return PackPrompts(lengths, token_cost).size();
  return *std::max_element(lengths.begin(), lengths.end()) * lengths.size();
}

// As replicas cut them, while all texts wait.
void CutBatches(Engine& engine, const EngineInfo& info, const AloneOptions& options, Workload& work) {
  Batch all;
  for (Prompt& prompt : work.prompts) all.push_back(&prompt);
  for (size_t i = 0; i < all.size(); i += kTokenizeTogether) {
    Check(engine.Tokenize(std::span(all).subspan(i, std::min(kTokenizeTogether, all.size() - i))));
  }
  BatchLimits limits{info.batch_tokens, std::max(info.batch_prompts, 1U), engine.token_cost()};
  if (options.most > 0) limits.prompts = std::min(limits.prompts, static_cast<uint32_t>(options.most));
  if (options.single) limits.prompts = 1;
  while (!all.empty()) {
    Batch& batch = work.batches.emplace_back();
    for (const uint32_t picked : PickBatch(LengthsOf(all), limits)) {
      batch.push_back(std::exchange(all[picked], nullptr));
    }
    std::erase(all, nullptr);
    work.padded_tokens += PaddedTokens(batch, limits.token_cost);
  }
}

void RunBatch(Engine& engine, const Batch& batch, AloneResult& result) {
  Check(engine.Tokenize(batch));
  Check(engine.Run(batch));
  for (const Prompt* prompt : batch) result.tokens += prompt->length;
  result.sentences += batch.size();
}

// Whole passes, so that every text weighs the same, however long it takes.
AloneResult RunPasses(Engine& engine, const AloneOptions& options, Workload& work) {
  using Seconds = std::chrono::duration<double>;
  std::mt19937 random(1);
  AloneResult warmup;
  for (const auto begin = Clock::now(); Clock::now() - begin < Seconds(options.warmup);) {
    RunBatch(engine, work.batches[random() % work.batches.size()], warmup);
  }
  AloneResult result;
  LatencyHistogram latency;
  const auto begin = Clock::now();
  do {
    if (!options.single) std::shuffle(work.batches.begin(), work.batches.end(), random);
    for (const Batch& batch : work.batches) {
      const auto batch_begin = Clock::now();
      RunBatch(engine, batch, result);
      latency.Record(Clock::now() - batch_begin);
    }
    result.padded_tokens += work.padded_tokens;
  } while (Clock::now() - begin < Seconds(options.seconds));
  result.seconds = Seconds(Clock::now() - begin).count();
  result.p50_us = latency.Micros(0.5);
  result.p99_us = latency.Micros(0.99);
  result.failed = false;
  return result;
}

// The life of one process: load, report ready, wait for the word, run, report.
[[noreturn]] void RunProcess(const AloneOptions& options, int core, int ready_fd, int go_fd, int result_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  PinTo(core);
  auto engine = MakeEngine(options.engine);
  Check(engine.status());
  const auto info = (*engine)->Load(options.engine);
  Check(info.status());
  Workload work;
  ReadTexts(options.corpus, info->dim, work);
  CutBatches(**engine, *info, options, work);
  char word = 1;
  if (write(ready_fd, &word, 1) != 1 || read(go_fd, &word, 1) != 1) Die("the parent is gone");
  const AloneResult result = RunPasses(**engine, options, work);
  if (write(result_fd, &result, sizeof result) != sizeof result) Die("the parent is gone");
  _exit(0);
}

struct Pipe {
  Pipe() {
    if (pipe(fd) != 0) Die("no pipe");
  }
  int fd[2];  // to read, to write
};

std::vector<AloneResult> RunAll(const AloneOptions& options, int processes) {
  const std::vector<int> cores = UsableCores();
  Pipe ready, go, results;
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const pid_t child = fork();  // before any engine exists: nothing of it is shared
    if (child == 0) {
      RunProcess(options, cores[static_cast<size_t>(i) % cores.size()], ready.fd[1], go.fd[0], results.fd[1]);
    }
    children.push_back(child);
  }
  close(ready.fd[1]);
  close(results.fd[1]);
  char word = 1;
  for (int i = 0; i < processes; ++i) {
    if (read(ready.fd[0], &word, 1) != 1) break;  // every child has died
  }
  for (int i = 0; i < processes; ++i) (void)!write(go.fd[1], &word, 1);
  std::vector<AloneResult> all(static_cast<size_t>(processes));
  for (AloneResult& result : all) {
    if (read(results.fd[0], &result, sizeof result) != sizeof result) result.failed = true;
  }
  for (const pid_t child : children) waitpid(child, nullptr, 0);
  return all;
}

int Report(const AloneOptions& options, const std::vector<AloneResult>& results) {
  double rate = 0, tokens = 0, padded = 0, p50 = 0, p99 = 0, sentences = 0;
  for (const AloneResult& result : results) {
    if (result.failed) return 1;  // the process has said why
    rate += static_cast<double>(result.sentences) / result.seconds;
    sentences += static_cast<double>(result.sentences);
    tokens += static_cast<double>(result.tokens);
    padded += static_cast<double>(result.padded_tokens);
    p50 = std::max(p50, result.p50_us);
    p99 = std::max(p99, result.p99_us);
  }
  const nlohmann::ordered_json report = {
      {"engine", options.engine.engine},
      {"processes", results.size()},
      {"single", options.single},
      {"sentences", sentences},
      {"prompts_per_second", rate},
      {"tokens_per_sentence", tokens / sentences},
      {"padding_share", 1 - tokens / std::max(padded, 1.0)},
      {"p50_us", p50},  // of a batch, in the slowest process
      {"p99_us", p99},
  };
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  const auto options = zerohop::bench::ParseOrExit(argc, argv);
  const auto cores = static_cast<int>(zerohop::bench::UsableCores().size());
  const int processes = options.processes > 0 ? options.processes : cores;
  return zerohop::bench::Report(options, zerohop::bench::RunAll(options, processes));
}

#include "tests/fake_cuda/faults.h"

#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {
namespace {

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t first = part.find_first_not_of(' ');
    if (first == std::string_view::npos) continue;
    parts.push_back(part.substr(first, part.find_last_not_of(' ') - first + 1));
  }
  return parts;
}

std::string_view WithoutVersion(std::string_view function) {
  return function.ends_with("_v2") ? function.substr(0, function.size() - 3) : function;
}

template <typename Number>
bool Read(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool ReadWord(std::string_view word, Fault& fault) {
  const size_t equals = std::min(word.find('='), word.size());
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = word.substr(std::min(equals + 1, word.size()));
  unsigned error = 0;
  if (name == "nth") return Read(value, fault.nth) && fault.nth > 0;
  if (name == "p") return Read(value, fault.probability);
  if (name == "seed") return Read(value, fault.seed);
  if (name == "delay_us") return Read(value, fault.delay_us);
  if (name == "hang") return fault.hang = value.empty();
  if (name == "sigkill") fault.kill = value == "before" ? Kill::kBefore : Kill::kAfter;
  if (name == "sigkill") return value == "before" || value == "after";
  if (name != "err" || !Read(value, error)) return false;
  fault.error = static_cast<cuda::CUresult>(error);
  return true;
}

// A fault as it stands in this process.
struct Armed {
  explicit Armed(Fault armed) : fault(std::move(armed)), random(fault.seed) {}
  Fault fault;
  unsigned calls = 0;
  std::minstd_rand random;
};

class ArmedFaults {
 public:
  ArmedFaults() { Add(TheSettings().faults); }

  // The faults that strike this call of `function`. Without any at all, it takes no lock.
  std::vector<Fault> Strike(std::string_view function) {
    Refresh();
    std::vector<Fault> struck;
    if (count_.load(std::memory_order_relaxed) == 0) return struck;
    const std::lock_guard guard(lock_);
    for (Armed& armed : armed_) {
      if (armed.fault.function != WithoutVersion(function)) continue;
      ++armed.calls;
      if (armed.fault.nth != 0 && armed.calls != armed.fault.nth) continue;
      if (std::uniform_real_distribution<double>()(armed.random) < armed.fault.probability) {
        struck.push_back(armed.fault);
      }
    }
    return struck;
  }

 private:
  void Add(std::string_view text) {
    const auto faults = ParseFaults(text);
    if (!faults) {
      std::fprintf(stderr, "fake_cuda: no faults: %s\n", std::string(text).c_str());
      std::abort();
    }
    for (const Fault& fault : *faults) armed_.emplace_back(fault);
    count_.store(armed_.size(), std::memory_order_relaxed);
  }

  // Takes over what was set since; then all count their calls from there.
  void Refresh() {
    const uint32_t version = SharedWords().faults_version;
    if (version == version_.load(std::memory_order_relaxed)) return;
    const std::lock_guard guard(lock_);
    const RegistryLock registry;
    version_ = registry->faults_version.load();
    std::vector<std::string> live;
    for (const FaultRecord& record : registry->faults) {
      if (record.used != 0 && (record.pid == 0 || record.pid == ::getpid())) live.emplace_back(record.text);
    }
    if (live == live_) return;
    live_ = live;
    armed_.clear();
    Add(TheSettings().faults);
    for (const std::string& text : live) Add(text);
  }

  std::mutex lock_;
  std::atomic<uint32_t> version_ = 0;
  std::atomic<size_t> count_ = 0;
  std::vector<Armed> armed_;
  std::vector<std::string> live_;
};

ArmedFaults& TheFaults() {
  static ArmedFaults& faults = *new ArmedFaults;  // streams still ask while the process exits
  return faults;
}

// Set by FaultBefore for FaultAfter, so that both speak of the same call.
thread_local bool kill_after = false;

}  // namespace

std::optional<std::vector<Fault>> ParseFaults(std::string_view text) {
  std::vector<Fault> faults;
  for (const std::string_view item : Split(text, ';')) {
    const auto words = Split(item, ':');
    if (words.size() < 2) return std::nullopt;
    Fault fault;
    fault.function = WithoutVersion(words[0]);
    for (size_t i = 1; i < words.size(); ++i) {
      if (!ReadWord(words[i], fault)) return std::nullopt;
    }
    faults.push_back(fault);
  }
  return faults;
}

cuda::CUresult FaultBefore(std::string_view function) {
  kill_after = false;
  cuda::CUresult error = cuda::CUDA_SUCCESS;
  for (const Fault& fault : TheFaults().Strike(function)) {
    Count(SharedWords(), Counter::faults);
    if (fault.delay_us != 0) std::this_thread::sleep_for(std::chrono::microseconds(fault.delay_us));
    while (fault.hang) ::pause();
    if (fault.kill == Kill::kBefore) ::kill(::getpid(), SIGKILL);
    kill_after = kill_after || fault.kill == Kill::kAfter;
    if (fault.error != cuda::CUDA_SUCCESS) error = fault.error;
  }
  return error;
}

void FaultAfter() {
  if (kill_after) ::kill(::getpid(), SIGKILL);
}

}  // namespace zerohop::fake_cuda

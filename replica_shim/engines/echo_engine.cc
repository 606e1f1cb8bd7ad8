#include "replica_shim/engines/echo_engine.h"

#include <chrono>
#include <thread>

namespace zerohop {
namespace {

uint64_t Fnv1a(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3;
  return hash;
}

constexpr uint64_t kSplitMixStep = 0x9e3779b97f4a7c15;

// The upper 24 bits of what SplitMix64 gives for this state; its last xor does not reach them.
inline int32_t SplitMixBits(uint64_t state) {
  const uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
  return static_cast<int32_t>((z ^ (z >> 27)) * 0x94d049bb133111eb >> 40);
}

// Exact: both the difference and the quotient have at most 24 bits.
inline float FloatOf(int32_t bits) {
  return static_cast<float>(bits - (1 << 23)) / 8388608.0f;
}

// What this engine costs is charged to the hop that is measured with it. The state of SplitMix64 is a
// counter, so no value waits for the one before; blocks, because a compiler makes vectors of loops whose
// length it knows, and two loops, because few instruction sets have what the first one needs.
[[gnu::always_inline]] inline void FillFrom(uint64_t state, std::span<float> row) {
  constexpr size_t kBlock = 32;
  size_t i = 0;
  for (; i + kBlock <= row.size(); i += kBlock) {
    int32_t bits[kBlock];
    for (int32_t& b : bits) b = SplitMixBits(state += kSplitMixStep);
    for (size_t j = 0; j < kBlock; ++j) row[i + j] = FloatOf(bits[j]);
  }
  for (; i < row.size(); ++i) row[i] = FloatOf(SplitMixBits(state += kSplitMixStep));
}

#if defined(__x86_64__)
// The one set of x86 that multiplies vectors of 64-bit integers.
[[gnu::target("avx512f,avx512dq,avx512vl")]] void FillWithAvx512(uint64_t state, std::span<float> row) {
  FillFrom(state, row);
}

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

class EchoEngine final : public Engine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions& options) override {
    if (options.echo_dim < 1) {
      return absl::InvalidArgumentError("--echo-dim: expected at least 1, got " +
                                        std::to_string(options.echo_dim));
    }
    delay_ = std::chrono::microseconds(options.echo_delay_us);
    return EchoInfo(static_cast<uint32_t>(options.echo_dim));
  }

  // Nothing to tokenize: every prompt costs one token.
  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) prompt->length = 1;
    return absl::OkStatus();
  }

  absl::Status Run(std::span<Prompt* const> batch) override {
    if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
    for (Prompt* prompt : batch) FillEchoRow(*prompt, prompt->row);
    return absl::OkStatus();
  }

 private:
  std::chrono::microseconds delay_{0};
};

}  // namespace

void FillEchoRow(std::span<const std::byte> prompt, std::span<float> row) {
  const uint64_t state = Fnv1a(prompt);
#if defined(__x86_64__)
  if (HasAvx512()) return FillWithAvx512(state, row);
#endif
  FillFrom(state, row);
}

void FillEchoRow(const Prompt& prompt, std::span<float> row) {
  FillEchoRow(prompt.kind == PromptKind::kText ? std::as_bytes(std::span<const char>(prompt.text))
                                               : std::as_bytes(prompt.token_ids),
              row);
}

EngineInfo EchoInfo(uint32_t dim) {
  EngineInfo info;
  info.dim = dim;
  info.max_tokens = 1u << 20;
  info.vocabulary = 1u << 30;
  info.batch_tokens = 1u << 20;
  info.batch_prompts = 1024;
  info.engine = "echo (not a model)";
  info.dtype = "float32";
  return info;
}

std::unique_ptr<Engine> MakeEchoEngine() {
  return std::make_unique<EchoEngine>();
}

}  // namespace zerohop

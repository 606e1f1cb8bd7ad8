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

uint64_t SplitMix64(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class EchoEngine final : public Engine {
 public:
  absl::StatusOr<EngineInfo> Load(const EngineOptions& options) override {
    if (options.echo_dim < 1) {
      return absl::InvalidArgumentError("--echo-dim: expected at least 1, got " +
                                        std::to_string(options.echo_dim));
    }
    delay_ = std::chrono::microseconds(options.echo_delay_us);
    EngineInfo info;
    info.dim = static_cast<uint32_t>(options.echo_dim);
    info.max_tokens = 1u << 20;
    info.vocabulary = 1u << 30;
    info.batch_tokens = 1u << 20;
    info.batch_prompts = 1024;
    info.engine = "echo (not a model)";
    info.dtype = "float32";
    return info;
  }

  // Nothing to tokenize: every prompt costs one token.
  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) prompt->length = 1;
    return absl::OkStatus();
  }

  absl::Status Run(std::span<Prompt* const> batch) override {
    if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
    for (Prompt* prompt : batch) {
      const auto bytes = prompt->kind == PromptKind::kText
                             ? std::as_bytes(std::span<const char>(prompt->text))
                             : std::as_bytes(prompt->token_ids);
      FillEchoRow(bytes, prompt->row);
    }
    return absl::OkStatus();
  }

 private:
  std::chrono::microseconds delay_{0};
};

}  // namespace

void FillEchoRow(std::span<const std::byte> prompt, std::span<float> row) {
  uint64_t state = Fnv1a(prompt);
  for (float& x : row) x = static_cast<float>(SplitMix64(&state) >> 40) / 8388608.0f - 1.0f;
}

std::unique_ptr<Engine> MakeEchoEngine() {
  return std::make_unique<EchoEngine>();
}

}  // namespace zerohop

#pragma once

// ScriptedEngine: an engine whose texts say what it shall do.
//
//   "...bad-token..."  is not acceptable: Tokenize refuses it
//   "...bad-run..."    makes every pass that holds it fail
//   anything else      costs one token a byte and gets its known row

#include <functional>
#include <string>
#include <vector>

#include "replica_shim/engine.h"
#include "tests/support/known_rows.h"

namespace zerohop {

class ScriptedEngine final : public Engine {
 public:
  static EngineInfo Info() {
    EngineInfo info;
    info.dim = 8;
    info.max_tokens = 512;
    info.batch_tokens = 64;
    info.batch_prompts = 4;
    return info;
  }

  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override { return Info(); }

  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) {
      if (TextOf(*prompt).find("bad-token") != std::string::npos) {
        return absl::InvalidArgumentError("cannot tokenize this");
      }
      prompt->length = static_cast<uint32_t>(TextOf(*prompt).size());
    }
    return absl::OkStatus();
  }

  absl::Status Run(std::span<Prompt* const> batch) override {
    auto& texts = batches.emplace_back();
    for (const Prompt* prompt : batch) texts.push_back(TextOf(*prompt));
    if (on_run) on_run();
    for (const std::string& text : texts) {
      if (text.find("bad-run") != std::string::npos) return absl::InternalError("the pass failed");
    }
    for (Prompt* prompt : batch) {
      const uint32_t hash = PromptHash(TextOf(*prompt));
      for (uint32_t i = 0; i < prompt->row.size(); ++i) prompt->row[i] = KnownValue(hash, i);
    }
    return absl::OkStatus();
  }

  // What ran together, in order.
  std::vector<std::vector<std::string>> batches;
  // Called at the begin of each pass.
  std::function<void()> on_run;

 private:
  static std::string TextOf(const Prompt& prompt) {
    if (prompt.kind == PromptKind::kText) return std::string(prompt.text);
    const auto bytes = std::as_bytes(prompt.token_ids);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

}  // namespace zerohop

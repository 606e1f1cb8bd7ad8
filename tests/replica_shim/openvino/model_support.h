#pragma once

// What the engine's tests share: the default model's place, folders made on the
// spot, and running prompts through an engine.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "replica_shim/engine.h"

namespace zerohop::testing {

// $ZEROHOP_CACHE/models/sentence-transformers/all-MiniLM-L6-v2, with the default cache when that is unset.
std::string MiniLmFolder();

// A folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  void Write(const std::string& name, const std::string& bytes) const;
  void Write(const std::string& name, const nlohmann::json& value) const { Write(name, value.dump()); }

 private:
  std::filesystem::path path_;
};

// A tokenizer.json in which each word of `words` has its position as id.
nlohmann::json TokenizerJson(const std::vector<std::string>& words);

EngineOptions OptionsFor(const std::string& model, const std::string& dtype);

// Tokenizes and runs `texts` as one batch; expects both to succeed.
struct Embedded {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> rows;
};
Embedded Embed(Engine& engine, size_t dim, const std::vector<std::string>& texts);

// Token ids of one text, expected to succeed; and the status of a prompt of ids.
std::vector<int32_t> TokensOf(Engine& engine, const std::string& text);
absl::Status TokenizeIds(Engine& engine, const std::vector<int32_t>& ids);

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b);
double Cosine(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace zerohop::testing

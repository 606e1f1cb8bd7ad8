#include "bench/request_pool.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <random>
#include <stdexcept>

#include "bench/shallow_wire.h"

namespace zerohop::bench {
namespace {

// Enough that a drawn range of prompts per request shows its mean.
constexpr size_t kFewestRequests = 512;
// A pool is memory; past this it repeats itself.
constexpr size_t kMostBytes = 256 << 20;

std::vector<std::string> ReadTexts(const LoadOptions& options) {
  if (options.corpus.empty()) {
    static constexpr std::string_view kWords = "the quick brown fox jumps over the lazy dog and ";
    std::string text;
    while (text.size() < static_cast<size_t>(options.text_chars)) text += kWords;
    text.resize(static_cast<size_t>(options.text_chars));
    return {text};
  }
  std::ifstream file(options.corpus);
  std::vector<std::string> texts;
  for (std::string line; std::getline(file, line);) texts.push_back(line);
  if (texts.empty()) throw std::runtime_error("no texts in " + options.corpus);
  return texts;
}

}  // namespace

RequestPool::RequestPool(const LoadOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<std::string> texts = ReadTexts(options);
  std::shuffle(texts.begin(), texts.end(), random);
  std::uniform_int_distribution<int> prompts_of(options.prompts_low, options.prompts_high);
  const bool all_alike = texts.size() == 1 && options.prompts_low == options.prompts_high;

  size_t used = 0, bytes = 0;
  do {
    const int prompts = prompts_of(random);
    std::string body;
    AppendInt(2, prompts, body);
    for (int i = 0; i < prompts; ++i) AppendField(3, texts[used++ % texts.size()], body);
    if (!options.model.empty()) AppendField(5, options.model, body);
    bytes += body.size();
    requests_.push_back({grpc::Slice(body), prompts});
  } while (!all_alike && bytes < kMostBytes && (used < texts.size() || requests_.size() < kFewestRequests));
}

std::string RequestId(uint64_t number) {
  char id[17];
  std::snprintf(id, sizeof id, "%016" PRIx64, number);
  return id;
}

grpc::ByteBuffer WithId(const std::string& id, const PooledRequest& request) {
  std::string header;
  AppendField(1, id, header);
  const grpc::Slice slices[] = {grpc::Slice(header), request.body};
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace zerohop::bench

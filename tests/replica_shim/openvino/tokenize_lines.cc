// tokenize_lines: prints the token ids of texts, for a comparison with another tokenizer.
// Usage: tokenize_lines TOKENIZER_JSON MAX_TOKENS VOCABULARY < texts
// Each text comes on stdin after its length in bytes and a newline: every byte, NUL and newline too, is a
// character that the tokenizer must see.
// Prints one line of ids for each text.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "replica_shim/engines/openvino/bert_tokenizer.h"

namespace {

constexpr size_t kTextsPerCall = 256;

void Print(zerohop::TextTokenizer& tokenizer, const std::vector<std::string>& texts) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  for (const std::vector<int32_t>& ids : tokenizer.Tokenize(views)) {
    for (const int32_t id : ids) std::printf("%d ", id);
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: tokenize_lines TOKENIZER_JSON MAX_TOKENS VOCABULARY\n");
    return 2;
  }
  const auto tokenizer = zerohop::MakeBertTokenizer(argv[1], std::strtoul(argv[2], nullptr, 10),
                                                    std::strtoul(argv[3], nullptr, 10));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  std::vector<std::string> texts;
  size_t length = 0;
  while (std::scanf("%zu", &length) == 1 && std::getchar() == '\n') {
    std::string text(length, '\0');
    if (std::fread(text.data(), 1, length, stdin) != length) return 1;
    texts.push_back(std::move(text));
    if (texts.size() == kTextsPerCall) {
      Print(**tokenizer, texts);
      texts.clear();
    }
  }
  if (!texts.empty()) Print(**tokenizer, texts);
  return 0;
}

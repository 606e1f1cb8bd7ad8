#pragma once

// A message in pieces, as gRPC's slices hand it over.

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "broker/lanes/request_body.h"

namespace zerohop {

// Owns its pieces, each an allocation of its own, so that AddressSanitizer
// sees a read beyond any of them.
class SplitBody {
 public:
  // Cut at `cuts`: ascending offsets; equal ones make empty pieces.
  SplitBody(const std::string& message, const std::vector<size_t>& cuts) {
    size_t from = 0;
    for (size_t cut : cuts) from = AddPiece(message, from, cut);
    AddPiece(message, from, message.size());
    for (const auto& piece : pieces_) body.AddPiece(piece);
  }
  SplitBody(SplitBody&&) = default;

  RequestBody body;

 private:
  size_t AddPiece(const std::string& message, size_t from, size_t to) {
    const auto* bytes = reinterpret_cast<const std::byte*>(message.data());
    pieces_.emplace_back(bytes + from, bytes + to);
    return to;
  }

  std::vector<std::vector<std::byte>> pieces_;
};

inline SplitBody RandomlySplit(const std::string& message, std::mt19937& random) {
  std::vector<size_t> cuts(random() % 6);
  for (size_t& cut : cuts) cut = random() % (message.size() + 1);
  std::sort(cuts.begin(), cuts.end());
  return SplitBody(message, cuts);
}

// The bytes of a prompt that was found.
inline std::string TextOf(const RequestBody& body, const PromptPlace& prompt) {
  std::string text(prompt.length, '\0');
  body.CopyOut(prompt.offset, prompt.length, reinterpret_cast<std::byte*>(text.data()));
  return text;
}

}  // namespace zerohop

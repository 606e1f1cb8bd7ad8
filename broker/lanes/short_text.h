#pragma once

// ShortText: a text that is short nearly always, as names are, and then needs no memory of its own.

#include <string_view>

#include "absl/container/inlined_vector.h"

namespace zerohop {

class ShortText {
 public:
  ShortText() = default;
  explicit ShortText(std::string_view text) : bytes_(text.begin(), text.end()) {}

  // For whoever fills it in; what is new is undefined.
  void resize(size_t size) { bytes_.resize(size); }
  char* data() { return bytes_.data(); }

  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  bool empty() const { return bytes_.empty(); }

 private:
  absl::InlinedVector<char, 48> bytes_;  // a UUID has 36, names of models rarely more than 40
};

inline bool operator==(const ShortText& a, std::string_view b) {
  return a.view() == b;
}
inline bool operator==(const ShortText& a, const ShortText& b) {
  return a.view() == b.view();
}

}  // namespace zerohop

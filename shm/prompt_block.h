#pragma once

// Prompt block: the prompts of one submission as they lie in its request region.
//
//   byte      field
//      0      lengths   rows x uint32, bytes of each prompt
//   rows x 4  prompts   their bytes, one after the other, without padding
//
// Token ids are little-endian int32, so every prompt of such a block begins at
// a multiple of 4. The replica checks the lengths against the region: what the
// broker wrote is right, but a check costs less than a wrong assumption.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace zerohop {

inline size_t PromptTableBytes(uint32_t rows) {
  return size_t{rows} * sizeof(uint32_t);
}

// Broker's view: appends prompts in order; the caller allocated enough.
class PromptBlockWriter {
 public:
  PromptBlockWriter(std::byte* region, uint32_t rows)
      : lengths_(region), prompts_(region + PromptTableBytes(rows)) {}

  // Room for the next prompt, to be filled by the caller.
  std::byte* Append(uint32_t length) {
    std::memcpy(lengths_, &length, sizeof length);
    lengths_ += sizeof length;
    std::byte* here = prompts_;
    prompts_ += length;
    return here;
  }

 private:
  std::byte* lengths_;
  std::byte* prompts_;
};

// Replica's view.
class PromptBlockReader {
 public:
  PromptBlockReader(std::span<const std::byte> region, uint32_t rows)
      : region_(region), rows_(rows), next_(PromptTableBytes(rows)) {}

  // False when the block does not hold `rows` prompts, or all were read.
  bool Next(std::span<const std::byte>* prompt) {
    if (read_ == rows_ || next_ > region_.size()) return false;
    uint32_t length;
    std::memcpy(&length, region_.data() + size_t{read_} * sizeof length, sizeof length);
    if (length > region_.size() - next_) return false;
    *prompt = region_.subspan(next_, length);
    next_ += length;
    ++read_;
    return true;
  }

 private:
  std::span<const std::byte> region_;
  uint32_t rows_;
  uint32_t read_ = 0;
  size_t next_;
};

}  // namespace zerohop

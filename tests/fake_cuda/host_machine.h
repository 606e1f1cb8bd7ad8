#pragma once

// HostMachine: the host in the place of a GPU, for kernel sources written as
// replica_shim/cuda/pool_block.h is. Blocks run one after the other, and of a block
// every thread gets to a barrier before any goes beyond it.
//
// Between two barriers a GPU runs threads in any order: kDescending shows who
// depends on one.
//
// What includes this is compiled with -ffp-contract=off.

#include <bit>
#include <cmath>
#include <cstdint>

#include "replica_shim/cuda/pool_job.h"

namespace zerohop::fake_cuda {

enum class ThreadOrder { kAscending, kDescending };

// Memory: Read<T>(address, count) and Write<T>(address, count), as of pool_block.h.
template <typename Memory>
class HostMachine : public Memory {
 public:
  explicit HostMachine(unsigned threads, ThreadOrder order = ThreadOrder::kAscending)
      : threads_(threads), order_(order) {}

  template <typename Body>
  void EachThread(Body body) const {
    for (unsigned i = 0; i < threads_; ++i) {
      body(order_ == ThreadOrder::kAscending ? i : threads_ - 1 - i);
    }
  }

  static float Add(float a, float b) { return a + b; }
  static float Multiply(float a, float b) { return a * b; }
  static float Divide(float a, float b) { return a / b; }
  static float SquareRoot(float a) { return std::sqrt(a); }

  static float Widen(float element) { return element; }
  static float Widen(Bfloat16 element) {
    return std::bit_cast<float>(static_cast<uint32_t>(element.bits) << 16);
  }
  static float Widen(Float16 element) {
    const uint32_t sign = static_cast<uint32_t>(element.bits & 0x8000) << 16;
    const uint32_t rest = static_cast<uint32_t>(element.bits & 0x7FFF) << 13;
    const uint32_t exponent = rest >> 23;
    // In its new place fp16's exponent is too small by 112, and that of infinity and NaN by 224.
    if (exponent == 31) return std::bit_cast<float>(sign | (rest + (224u << 23)));
    // A subnormal has no hidden bit: as if it had one, less what that is worth.
    if (exponent == 0) {
      const float smallest = std::bit_cast<float>(113u << 23);
      return std::copysign(std::bit_cast<float>(rest + (113u << 23)) - smallest, std::bit_cast<float>(sign));
    }
    return std::bit_cast<float>(sign | (rest + (112u << 23)));
  }

 private:
  unsigned threads_;
  ThreadOrder order_;
};

}  // namespace zerohop::fake_cuda

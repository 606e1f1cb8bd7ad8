#pragma once

#include <cstdint>
#include <random>

namespace zerohop {

// 64 bits that nobody can foresee.
inline uint64_t RandomBits() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace zerohop

#include "broker/front/request_id.h"

#include <cstdint>
#include <cstdio>
#include <random>

namespace zerohop {

ShortText NewRequestId() {
  thread_local std::mt19937_64 random([] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }());
  const uint64_t high = (random() & ~0xf000ull) | 0x4000ull;       // version 4
  const uint64_t low = (random() & ~(3ull << 62)) | (2ull << 62);  // variant 10
  char text[37];
  std::snprintf(text, sizeof text, "%08x-%04x-%04x-%04x-%012llx", static_cast<unsigned>(high >> 32),
                static_cast<unsigned>(high >> 16 & 0xffff), static_cast<unsigned>(high & 0xffff),
                static_cast<unsigned>(low >> 48), static_cast<unsigned long long>(low & 0xffffffffffff));
  return ShortText(text);
}

}  // namespace zerohop

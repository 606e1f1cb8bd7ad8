#pragma once

// Bytes for decoders that must survive any: by turns random ones, and good ones with random damage.

#include <cstdint>
#include <random>
#include <string>

namespace zerohop {

inline std::string Damaged(const std::string& good, int round, std::mt19937& random) {
  std::string bytes = good;
  if (round % 2 == 0) {
    bytes.resize(random() % 100);
    for (char& c : bytes) c = static_cast<char>(random());
  } else {
    for (uint32_t i = 0; i <= random() % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(bytes.size() - random() % 3);
  }
  return bytes;
}

}  // namespace zerohop

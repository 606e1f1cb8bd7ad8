#include "tests/every_instruction/code_map.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace zerohop {

CodeMap::CodeMap(pid_t process) {
  std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping mapping;
    char rights[8];
    int file_at = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s %n", &mapping.begin,
                    &mapping.end, rights, &mapping.offset, &file_at) == 4 &&
        rights[2] == 'x') {
      mapping.file = line.substr(static_cast<size_t>(file_at));
      mappings_.push_back(std::move(mapping));
    }
  }
}

CodePlace CodeMap::PlaceOf(uint64_t address) const {
  for (const Mapping& mapping : mappings_) {
    if (address >= mapping.begin && address < mapping.end) {
      return {mapping.file, address - mapping.begin + mapping.offset};
    }
  }
  throw std::runtime_error("a replica runs where it has no code");
}

uint64_t CodeMap::AddressOf(const CodePlace& place) const {
  for (const Mapping& mapping : mappings_) {
    if (mapping.file == place.file && place.offset >= mapping.offset &&
        place.offset - mapping.offset < mapping.end - mapping.begin) {
      return mapping.begin + (place.offset - mapping.offset);
    }
  }
  throw std::runtime_error("a replica has no code of " + place.file);
}

}  // namespace zerohop

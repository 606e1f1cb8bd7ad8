#pragma once

// CodeMap: where the code of a process lies. The same program lies elsewhere
// in every process, so an instruction that is to be found again in another one
// is named by its file and its place there.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace zerohop {

struct CodePlace {
  std::string file;     // as /proc/PID/maps has it
  uint64_t offset = 0;  // in the file
};

class CodeMap {
 public:
  explicit CodeMap(pid_t process);

  // Both throw where there is no such code.
  CodePlace PlaceOf(uint64_t address) const;
  uint64_t AddressOf(const CodePlace& place) const;

 private:
  struct Mapping {
    uint64_t begin = 0, end = 0, offset = 0;
    std::string file;
  };
  std::vector<Mapping> mappings_;
};

}  // namespace zerohop

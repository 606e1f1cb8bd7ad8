#pragma once

// MappedFile: a whole file, mapped read-only and shared.
//
// Replicas that map the same file share its pages, which is why weights are
// mapped and never read. Any thread; the bytes live as long as the object.
// Limit: a file that another process truncates while it is mapped raises
// SIGBUS on access. Model folders are not to be rewritten under a server.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace zerohop {

class MappedFile {
 public:
  // NotFound, or another code by errno; the sentence names the path.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

}  // namespace zerohop

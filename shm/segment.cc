#include "shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace zerohop {
namespace {

namespace bip = boost::interprocess;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::string MiB(size_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}
std::string Reason() {
  return std::strerror(errno);
}

// Gives Boost a descriptor to map without giving it away.
struct BorrowedFd {
  int fd;
  bip::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

void UniqueFd::Reset() {
  if (fd_ >= 0) ::close(Release());
}

absl::StatusOr<Segment> Segment::Create(const std::string& name, size_t bytes, Access access, Access peers) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return absl::InternalError("cannot make shared memory for " + name + ": " + Reason());
  // Allocates every page; ftruncate alone would only promise them.
  if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    return absl::ResourceExhaustedError("cannot reserve " + MiB(bytes) + " of shared memory for " + name +
                                        ": " + Reason());
  }
  // Mapped before it is sealed: the seal against writers spares mappings that are there already.
  auto segment = Map(std::move(fd), bytes, access);
  if (!segment.ok()) return segment;
  const int seals = peers == Access::kReadOnly ? kSeals | F_SEAL_FUTURE_WRITE : kSeals;
  if (::fcntl(segment->fd_.get(), F_ADD_SEALS, seals) != 0) {
    return absl::InternalError("cannot seal the shared memory for " + name + ": " + Reason());
  }
  return segment;
}

absl::StatusOr<Segment> Segment::Attach(UniqueFd fd, size_t bytes, Access access) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || static_cast<size_t>(status.st_size) != bytes) {
    return absl::InvalidArgumentError("shared segment: expected " + std::to_string(bytes) + " bytes, got " +
                                      std::to_string(status.st_size));
  }
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return absl::InvalidArgumentError("shared segment is not sealed against shrinking");
  }
  return Map(std::move(fd), bytes, access);
}

absl::StatusOr<Segment> Segment::Map(UniqueFd fd, size_t bytes, Access access) {
  try {
    const auto mode = access == Access::kReadWrite ? bip::read_write : bip::read_only;
    bip::mapped_region map(BorrowedFd{fd.get()}, mode, 0, bytes);
    // A core dump of hundreds of MiB would keep a dying replica, and its work, for seconds.
    (void)::madvise(map.get_address(), bytes, MADV_DONTDUMP);
    return Segment(std::move(fd), std::move(map));
  } catch (const bip::interprocess_exception& error) {
    return absl::ResourceExhaustedError("cannot map " + MiB(bytes) + " of shared memory: " + error.what());
  }
}

void Segment::Isolate() {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  // Without it the writes would go on to memory that is ours no more; then rather die.
  if (::mmap(data(), size(), PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) std::abort();
}

absl::StatusOr<UniqueFd> Segment::Share(Access access) const {
  // Opened anew, because the rights of a duplicate are those of the original.
  const std::string path = "/proc/self/fd/" + std::to_string(fd_.get());
  UniqueFd shared(::open(path.c_str(), (access == Access::kReadWrite ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!shared) return absl::InternalError("cannot open " + path + ": " + Reason());
  return shared;
}

}  // namespace zerohop

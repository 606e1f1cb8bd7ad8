#pragma once

// Segment: a piece of memory that two processes share; a memfd, so there is no
// name to leak and no /dev/shm limit to meet.
//
// Sealed against shrinking and growing, so no peer can cut it off under us
// (SIGBUS), and reserved, so that exhaustion is an error here and now instead
// of a signal later. The descriptor for a reader cannot be mapped writable.
// Move-only; unmapped and closed on destruction.

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace zerohop {

// A file descriptor that closes itself.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

enum class Access { kReadOnly, kReadWrite };

class Segment {
 public:
  Segment() = default;

  // Makes, reserves, seals and maps a segment of `bytes`, a multiple of the page size.
  // `name` shows in /proc/PID/maps. ResourceExhausted where the machine has no room.
  // `peers`: read-only peers cannot make it writable again, not even by opening it anew.
  static absl::StatusOr<Segment> Create(const std::string& name, size_t bytes, Access access,
                                        Access peers = Access::kReadWrite);

  // Maps what a peer sent. Refuses a segment of another size, or one that its
  // maker could still shrink.
  static absl::StatusOr<Segment> Attach(UniqueFd fd, size_t bytes, Access access);

  std::byte* data() const { return static_cast<std::byte*>(map_.get_address()); }
  size_t size() const { return map_.get_size(); }

  // Puts private zero pages in the place of the shared ones, in one step: who
  // writes here from now on writes for itself. For a writable segment.
  void Isolate();

  // A descriptor to hand over, with the rights its receiver shall have.
  absl::StatusOr<UniqueFd> Share(Access access) const;

 private:
  Segment(UniqueFd fd, boost::interprocess::mapped_region map) : fd_(std::move(fd)), map_(std::move(map)) {}
  static absl::StatusOr<Segment> Map(UniqueFd fd, size_t bytes, Access access);

  UniqueFd fd_;
  boost::interprocess::mapped_region map_;
};

}  // namespace zerohop

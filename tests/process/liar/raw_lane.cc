#include "tests/process/liar/raw_lane.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace zerohop {
namespace {

std::span<std::byte> MapAll(int fd, int protection) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) std::abort();
  const auto bytes = static_cast<size_t>(status.st_size);
  void* at = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) std::abort();
  return {static_cast<std::byte*>(at), bytes};
}

}  // namespace

RawLane::RawLane(const std::vector<UniqueFd>& offered)
    : broker_fd_(::dup(offered[0].get())),
      own_fd_(::dup(offered[1].get())),
      bell_fd_(::dup(offered[2].get())) {
  broker_ = MapAll(broker_fd_.get(), PROT_READ);
  own_ = MapAll(own_fd_.get(), PROT_READ | PROT_WRITE);
  bell_ = MapAll(bell_fd_.get(), PROT_READ | PROT_WRITE);
  geometry_ = reinterpret_cast<const LaneHeader*>(broker_.data())->geometry;
  at_ = OffsetsOf(geometry_);
}

uint64_t RawLane::submission_tail() const {
  const auto* lines = reinterpret_cast<const BrokerLines*>(broker_.data() + at_.broker_lines);
  // Acquire, as the honest view does: the cells before the tail are complete.
  return lines->submission_tail.value.load(std::memory_order_acquire);
}

Submission RawLane::submission(uint64_t position) const {
  const auto* cells = reinterpret_cast<const Submission*>(broker_.data() + at_.submission_cells);
  return cells[position & (geometry_.ring_cells - 1)];
}

}  // namespace zerohop

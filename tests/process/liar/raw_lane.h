#pragma once

// RawLane: a lane as a liar sees it: the same bytes that ReplicaLane guards,
// without the guard. Mapped a second time, so the honest view beside it works on.

#include <cstddef>
#include <span>
#include <vector>

#include "shm/lane_format.h"
#include "shm/segment.h"

namespace zerohop {

class RawLane {
 public:
  // Of the three descriptors that came with the offer, which stay with the caller. Aborts where it cannot.
  explicit RawLane(const std::vector<UniqueFd>& offered);

  // All that a replica may write: its segment and the bell's page.
  std::span<std::byte> own() const { return own_; }
  std::span<std::byte> bell() const { return bell_; }
  // Parts of own().
  std::span<std::byte> words() const { return own_.subspan(0, at_.completion_cells); }
  std::span<std::byte> cells() const {
    return own_.subspan(at_.completion_cells, at_.response_arena - at_.completion_cells);
  }
  std::span<std::byte> response(const Submission& s) const {
    return own_.subspan(at_.response_arena + s.response_offset, s.response_length);
  }
  ReplicaLines& lines() const { return *reinterpret_cast<ReplicaLines*>(own_.data() + at_.replica_lines); }
  BellLines& bell_lines() const { return *reinterpret_cast<BellLines*>(bell_.data()); }

  // What the broker writes; mapped read-only.
  uint64_t submission_tail() const;
  Submission submission(uint64_t position) const;

  int broker_fd() const { return broker_fd_.get(); }
  int own_fd() const { return own_fd_.get(); }
  int bell_fd() const { return bell_fd_.get(); }

 private:
  UniqueFd broker_fd_, own_fd_, bell_fd_;
  std::span<std::byte> broker_, own_, bell_;
  LaneGeometry geometry_;
  LaneOffsets at_{};
};

}  // namespace zerohop

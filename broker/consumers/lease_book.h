#pragma once

// LeaseBook: which parts of a consumer's arena are taken: by rows that are yet
// to come, or by rows that the consumer has leased. The numbers of leases are
// never used twice, so one that is given back twice, or was never given, is told
// from one that is held. Not thread-safe.

#include <cstdint>
#include <map>
#include <optional>

#include "broker/lanes/region_allocator.h"

namespace zerohop {

class LeaseBook {
 public:
  // `arena_bytes`: a power of two.
  explicit LeaseBook(uint64_t arena_bytes);

  // The offset of room for rows to come; nothing where the rest is taken.
  std::optional<uint64_t> Reserve(uint64_t bytes) { return regions_.Allocate(bytes); }
  // No rows came.
  void Free(uint64_t offset) { regions_.Free(offset); }
  // They came: the number of the lease under which the consumer holds them.
  uint64_t Lease(uint64_t offset);
  // False where no such lease is held.
  bool Return(uint64_t lease);

  size_t held() const { return held_.size(); }
  // By rows, those to come included; the proof's room is nobody's.
  uint64_t taken_bytes() const { return regions_.capacity() - RegionAllocator::kSmallest - free_bytes(); }
  uint64_t free_bytes() const { return regions_.free_bytes(); }

 private:
  RegionAllocator regions_;
  std::map<uint64_t, uint64_t> held_;  // by lease: its offset
  uint64_t last_lease_ = 0;
};

}  // namespace zerohop

#include "broker/consumers/lease_book.h"

#include <cassert>

namespace zerohop {

// The arena begins with its proof, which must outlast the rows: a process that comes again opens it anew.
LeaseBook::LeaseBook(uint64_t arena_bytes) : regions_(arena_bytes) {
  [[maybe_unused]] const auto proof = regions_.Allocate(1);
  assert(proof == 0);
}

uint64_t LeaseBook::Lease(uint64_t offset) {
  held_.emplace(++last_lease_, offset);
  return last_lease_;
}

bool LeaseBook::Return(uint64_t lease) {
  const auto found = held_.extract(lease);
  if (found.empty()) return false;
  regions_.Free(found.mapped());
  return true;
}

}  // namespace zerohop

#pragma once

// Whether the machine has room for the lanes, asked before any is reserved:
// on Linux a reservation beyond a cgroup's limit ends in the OOM killer, not in
// an error.

#include <cstddef>

#include "absl/status/status.h"

namespace zerohop {

// Bytes that this process may still take: what the machine has available, and
// what the cgroup's limit leaves.
size_t AvailableMemoryBytes();

// ResourceExhausted, with what is needed, what is there and which flags to lower.
absl::Status CheckMemory(size_t lanes, size_t bytes_per_lane, size_t available);

}  // namespace zerohop

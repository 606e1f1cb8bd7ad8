#pragma once

// What becomes of the memory, the imports and the events of a process that is
// gone: it left, or it was killed and somebody noticed.

#include "tests/fake_cuda/registry_format.h"

namespace zerohop::fake_cuda {

enum class Farewell {
  kExited,  // and so freed what it had, under its importers if there are any: undefined
  kKilled,  // nobody's deliberate deed: FAKECU_UB=abort then only poisons
};

// Ends the membership of one process. Under the registry's lock, as all here.
void Settle(Registry& registry, uint32_t process, Farewell farewell);

// Settles every process that does not live any more.
void SettleDead(Registry& registry);

}  // namespace zerohop::fake_cuda

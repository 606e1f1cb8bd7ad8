#pragma once

// What CUDA leaves undefined, made a policy (FAKECU_UB):
//   abort   the process at fault ends, with a sentence: we never do it deliberately
//   poison  the worst that may be: memory loses its contents, an event of no owner
//           looks complete at once
//   pin     what drivers seem to do: all goes on as before, and memory stays taken
// Counted in all of them.

#include "tests/fake_cuda/registry_format.h"

namespace zerohop::fake_cuda {

enum class Blame {
  kUs,      // this process does it now
  kKiller,  // a process was killed; its peers can do nothing for it
};

// Notes an undefined use, and does not return where the policy is to abort and
// the blame is ours. Under the registry's lock.
void Undefined(Registry& registry, const char* what, Blame blame);

// Whether what is undefined shall hurt: not under `pin`.
bool UndefinedHurts();

}  // namespace zerohop::fake_cuda

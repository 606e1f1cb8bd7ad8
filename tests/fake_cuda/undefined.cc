#include "tests/fake_cuda/undefined.h"

#include <cstdio>
#include <cstdlib>

#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"

namespace zerohop::fake_cuda {

void Undefined(Registry& registry, const char* what, Blame blame) {
  Count(registry, Counter::undefined);
  if (TheSettings().undefined != UndefinedBehaviour::kAbort || blame != Blame::kUs) return;
  std::fprintf(stderr, "fake_cuda: undefined behaviour: %s\n", what);
  std::abort();
}

bool UndefinedHurts() {
  return TheSettings().undefined != UndefinedBehaviour::kPin;
}

}  // namespace zerohop::fake_cuda

// fakecu: the emulator's hooks from a shell, for tests of whole processes. The namespace is that of
// FAKECU_NS.
//   fakecu counter PID NAME     prints it; PID 0: of all processes there have ever been
//   fakecu faults PID FAULTS    sets them; PID 0: for all, and those to come; "" ends them

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/fake_cuda/fake_cuda.h"

int main(int argc, char** argv) {
  const std::string_view hook = argc == 4 ? argv[1] : "";
  const int pid = argc == 4 ? std::atoi(argv[2]) : 0;
  if (hook == "faults") return fakecu_set_faults(pid, argv[3]) == zerohop::cuda::CUDA_SUCCESS ? 0 : 1;
  if (hook != "counter") {
    std::fprintf(stderr, "usage: fakecu counter PID NAME | fakecu faults PID FAULTS\n");
    return 2;
  }
  std::printf("%llu\n", fakecu_counter(pid, argv[3]));
  return 0;
}

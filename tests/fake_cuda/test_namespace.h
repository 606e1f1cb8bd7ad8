#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/fake_cuda/fake_cuda.h"

namespace zerohop::fake_cuda {

// A namespace for this run of the tests, from before main to the exit; the children
// of death tests, and the peers, share it.
class TestNamespace {
 public:
  TestNamespace() : ours_(std::getenv("FAKECU_NS") == nullptr) {
    if (ours_) ::setenv("FAKECU_NS", ("test-" + std::to_string(::getpid())).c_str(), 0);
  }
  ~TestNamespace() {
    if (ours_) fakecu_remove_namespace();
  }
  TestNamespace(const TestNamespace&) = delete;
  TestNamespace& operator=(const TestNamespace&) = delete;

 private:
  bool ours_;
};
inline const TestNamespace kTestNamespace;

}  // namespace zerohop::fake_cuda

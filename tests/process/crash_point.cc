// Compiled only into the replica that tests/process/crash_point_test.py runs.

#include "replica_shim/crash_point.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace zerohop {

void CrashPoint(const char* name) {
  static const char* const at = std::getenv("ZEROHOP_CRASH_AT");
  static const char* const once = std::getenv("ZEROHOP_CRASH_ONCE");
  if (at == nullptr || once == nullptr || std::strcmp(at, name) != 0) return;
  if (::unlink(once) == 0) ::kill(::getpid(), SIGKILL);
}

}  // namespace zerohop

#pragma once

// CrashPoint: a named step of the shim, at which a test can let the replica
// die (tests/process/crash_point_test.py). Costs nothing in a server: only the
// program that the tests build is compiled with ZEROHOP_CRASH_POINTS.

namespace zerohop {

#ifdef ZEROHOP_CRASH_POINTS
// Dies by SIGKILL if the environment's ZEROHOP_CRASH_AT names this point and
// the file ZEROHOP_CRASH_ONCE could be removed: one death for each such file.
void CrashPoint(const char* name);
#else
inline void CrashPoint(const char* /*name*/) {}
#endif

}  // namespace zerohop

#pragma once

// What a process still had when it exited: one line of JSON, to FAKECU_REPORT, or
// to standard error where something leaked.
//
// {"pid": 71, "leaks": {"allocations": 0, "imports": 0, ...}, "counters": {"opens": 3, ...}}

namespace zerohop::fake_cuda {

// Before the process leaves the namespace.
void ReportExit();

}  // namespace zerohop::fake_cuda

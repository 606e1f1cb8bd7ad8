#pragma once

// `zerohop doctor [--device UUID|ordinal] [--json]`: which way rows would come
// back from a GPU of this machine, and why. Needs no server, and no GPU: that there is
// none is a finding, too. Returns the exit status: 0 it could report, 1 there is
// no such device, 2 a wrong flag.

namespace zerohop {

int Doctor(int argc, char** argv);

}  // namespace zerohop

#pragma once

// FastBfloat16: whether this CPU gains from bfloat16, which is more than to have
// instructions for it.

namespace zerohop {

// For a CPU of which OpenVINO says that it has bfloat16.
bool GainsFromBfloat16();

}  // namespace zerohop

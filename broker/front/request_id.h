#pragma once

// Fresh request ids for callers that sent none: random UUIDs (RFC 4122, version 4).

#include <string>

namespace zerohop {

std::string NewRequestId();

}  // namespace zerohop

#pragma once

// Fresh request ids for callers that sent none: random UUIDs (RFC 4122, version 4).

#include "broker/lanes/short_text.h"

namespace zerohop {

ShortText NewRequestId();

}  // namespace zerohop

#pragma once

// The echo engine with its rows on a GPU: tokens are computed on the host, copied
// to the device and pooled there into rows (PoolKernel) by work on a stream, as late
// as the driver likes. For tests of what lies between an engine on a GPU and the
// broker; runs on any driver.

#include <memory>

#include "replica_shim/engine.h"

namespace zerohop {

std::unique_ptr<Engine> MakeDeviceEchoEngine();

}  // namespace zerohop

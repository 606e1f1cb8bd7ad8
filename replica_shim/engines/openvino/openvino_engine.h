#pragma once

// OpenVinoEngine: embeddings on the CPU, without Python.
//
// Loads a sentence-transformers folder of the BERT family as it is, or any
// folder that optimum-cli exported (docs/engine_openvino.md). It never pins a
// thread and keeps no cache on disk: the shim decides where it runs.
// Threads and lifetime as in engine.h. OpenVINO reports by exceptions; none
// leaves this engine.

#include <memory>

#include "replica_shim/engine.h"

namespace zerohop {

std::unique_ptr<Engine> MakeOpenVinoEngine();

}  // namespace zerohop

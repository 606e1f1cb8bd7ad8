#pragma once

// Echo: an engine without a model, for benchmarks and tests. Each row is a
// deterministic function of its prompt's bytes, so any client can check that
// it got the answer to its own question:
//
//   state = FNV-1a 64 of the prompt's bytes (token ids: their little-endian bytes)
//   row[i] = float(SplitMix64(state) >> 40) / 2^23 - 1, one step of SplitMix64 each
//
// It says in its info that it is not a model.

#include <cstdint>
#include <memory>
#include <span>

#include "replica_shim/engine.h"

namespace zerohop {

std::unique_ptr<Engine> MakeEchoEngine();

// For engines that echo elsewhere, and for tests in this language: what it says of itself, and what a row
// holds.
EngineInfo EchoInfo(uint32_t dim);
void FillEchoRow(std::span<const std::byte> prompt, std::span<float> row);
void FillEchoRow(const Prompt& prompt, std::span<float> row);

}  // namespace zerohop

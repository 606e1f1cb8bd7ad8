#pragma once

// FUZZ_CHECK: what must hold for every input. Ends the process where it does
// not: libFuzzer keeps the input, and a replay names it. Not assert, which a
// build may leave out.

#include <cstdio>
#include <cstdlib>

#define FUZZ_CHECK(claim)                                                                  \
  do {                                                                                     \
    if (!(claim)) {                                                                        \
      std::fprintf(stderr, "%s:%d: this does not hold: %s\n", __FILE__, __LINE__, #claim); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

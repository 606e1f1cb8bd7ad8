// The kernels as nvcc compiled them: the PTX has the arithmetic of pool_shape.h and no other, so that a GPU
// may compute only what the twin does. In PTX, what names its rounding is never contracted; how divisions and
// square roots are made of other operations below it is the assembler's affair, and correctly rounded all the
// same.

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

namespace zerohop::pool_test {
namespace {

std::string Text() {
  std::ifstream file(ZEROHOP_POOL_PTX);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Which instructions occur.
std::set<std::string> Instructions() {
  std::istringstream text(Text());
  std::set<std::string> names;
  // "	add.rn.f32 	%f1, …", perhaps after a predicate or within the braces of inline assembly.
  const std::regex instruction(R"(^\s*\{?\s*(?:@!?%p\d+\s+)?([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\s)");
  for (std::string line; std::getline(text, line);) {
    std::smatch found;
    if (std::regex_search(line, found, instruction)) names.insert(found[1]);
  }
  return names;
}

TEST(PoolPtx, HasTheThreeKernels) {
  const std::string text = Text();
  for (const char* kernel : {"zerohop_pool_float32", "zerohop_pool_float16", "zerohop_pool_bfloat16"}) {
    EXPECT_NE(text.find(std::string(".visible .entry ") + kernel + "("), std::string::npos) << kernel;
  }
}

TEST(PoolPtx, ComputesWithRoundedSingleOperationsOnly) {
  const std::set<std::string> expected = {"add.rn.f32",  "mul.rn.f32",     "div.rn.f32",
                                          "sqrt.rn.f32", "cvt.rn.f32.u32", "cvt.f32.f16"};
  const std::set<std::string> harmless = {"setp.lt.f32", "selp.f32"};
  std::set<std::string> arithmetic;
  for (const std::string& name : Instructions()) {
    const bool moves = name.starts_with("ld.") || name.starts_with("st.") || name.starts_with("mov.");
    const bool of_floats = name.find(".f32") != std::string::npos || name.find("f16") != std::string::npos ||
                           name.find(".f64") != std::string::npos;
    if (of_floats && !moves && !harmless.contains(name)) arithmetic.insert(name);
  }
  EXPECT_EQ(arithmetic, expected);
}

TEST(PoolPtx, HasNoAtomics) {
  for (const std::string& name : Instructions()) {
    EXPECT_FALSE(name.starts_with("atom.") || name.starts_with("red.") || name.starts_with("shfl.")) << name;
    EXPECT_EQ(name.find(".ftz"), std::string::npos) << name;
    EXPECT_EQ(name.find(".approx"), std::string::npos) << name;
  }
}

// One after each of the phases: pooling, the steps of the sum, the division.
TEST(PoolPtx, HasBarriersInEachKernel) {
  const std::string text = Text();
  int kernels = 0;
  for (size_t at = text.find(".entry"); at != std::string::npos; ++kernels) {
    const size_t next = text.find(".entry", at + 1);
    int barriers = 0;
    for (size_t b = text.find("bar", at); b < next; b = text.find("bar", b + 1)) {
      const std::string_view here = std::string_view(text).substr(b);
      barriers += here.starts_with("bar.sync") || here.starts_with("barrier.sync");
    }
    EXPECT_GE(barriers, 3) << text.substr(at, 60);
    at = next;
  }
  EXPECT_EQ(kernels, 3);
}

}  // namespace
}  // namespace zerohop::pool_test

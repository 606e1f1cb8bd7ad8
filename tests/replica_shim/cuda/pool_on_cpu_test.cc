// The kernel's twin, against the same in double precision, straight from the definition.

#include "replica_shim/cuda/pool_on_cpu.h"

#include <bit>
#include <cmath>

#include "tests/replica_shim/cuda/pool_cases.h"

namespace zerohop::pool_test {
namespace {

std::vector<double> PooledInDouble(const PoolBatch& batch, size_t prompt) {
  const PoolShape shape = batch.shape();
  const size_t first = shape.offsets[prompt];
  const size_t end = shape.offsets[prompt + 1];
  std::vector<double> row(batch.dim());
  for (size_t d = 0; d < row.size(); ++d) {
    double sum = 0;
    for (size_t t = first; t < end; ++t) sum += batch.At(t, d);
    if (shape.pooling == TokenPooling::kMean) row[d] = sum / static_cast<double>(end - first);
    if (shape.pooling == TokenPooling::kFirst) row[d] = batch.At(first, d);
    if (shape.pooling == TokenPooling::kLast) row[d] = batch.At(end - 1, d);
  }
  return row;
}

std::vector<double> InDouble(const PoolBatch& batch, size_t prompt) {
  std::vector<double> row = PooledInDouble(batch, prompt);
  if (!batch.shape().normalize) return row;
  double squares = 0;
  for (const double value : row) squares += value * value;
  for (double& value : row) value /= std::max(std::sqrt(squares), 1e-12);
  return row;
}

TEST(PoolOnCpu, IsWhatDoublePrecisionGives) {
  for (const PoolCase& made : EveryCase(Values::kEven)) {
    const PoolBatch batch(made);
    const std::vector<float> rows = batch.RowsOnCpu();
    for (size_t prompt = 0; prompt < batch.prompts(); ++prompt) {
      const std::vector<double> expected = InDouble(batch, prompt);
      for (size_t d = 0; d < made.dim; ++d) {
        // Sums of these values are exact in fp32; what is left are some roundings, of a norm of at most 4096
        // terms.
        ASSERT_NEAR(rows[prompt * made.dim + d], expected[d], 4e-6) << NameOf(made) << ", prompt " << prompt;
      }
    }
  }
}

// One prompt of one row, whose elements are given.
std::vector<float> RowOf(const std::vector<float>& elements, bool normalize) {
  std::vector<float> row(elements.size());
  float* const rows[] = {row.data()};
  const uint32_t offsets[] = {0, 1};
  const PoolShape shape{TokenType::kFloat32, TokenPooling::kMean, normalize, elements.size(), offsets};
  PoolOnCpu(shape, elements.data(), rows);
  return row;
}

TEST(PoolOnCpu, ZerosStayZeros) {
  EXPECT_EQ(RowOf({0.0f, 0.0f, 0.0f}, true), (std::vector<float>{0, 0, 0}));
}

TEST(PoolOnCpu, ANormThatIsTooSmallIsTakenForTheSmallest) {
  EXPECT_EQ(RowOf({3e-13f, 4e-13f}, true), (std::vector<float>{3e-13f / 1e-12f, 4e-13f / 1e-12f}));
  EXPECT_EQ(RowOf({3e-12f}, true), std::vector<float>{1.0f});
}

TEST(PoolOnCpu, ANanMakesTheWholeRowNan) {
  for (const float value : RowOf({1.0f, NAN, 2.0f}, true)) EXPECT_TRUE(std::isnan(value));
}

TEST(PoolOnCpu, ANegativeZeroStaysOne) {
  EXPECT_TRUE(std::signbit(RowOf({-0.0f}, false)[0]));
}

}  // namespace
}  // namespace zerohop::pool_test

// The kernel's own source (pool_block.h), run on the host, against its twin: bit for bit.
// Compiled with -ffp-contract=off.

#include "replica_shim/cuda/pool_block.h"

#include <algorithm>
#include <limits>

#include "replica_shim/cuda/pool_on_cpu.h"
#include "tests/fake_cuda/host_machine.h"
#include "tests/replica_shim/cuda/pool_cases.h"

namespace zerohop::pool_test {
namespace {

using fake_cuda::HostMachine;
using fake_cuda::ThreadOrder;

// Addresses are those of the host.
struct HostMemory {
  template <typename T>
  const T* Read(uint64_t address, uint64_t) const {
    return reinterpret_cast<const T*>(address);
  }
  template <typename T>
  T* Write(uint64_t address, uint64_t) const {
    return reinterpret_cast<T*>(address);
  }
};

template <typename Element>
void RunBlock(const PoolJob& job, uint32_t block, ThreadOrder order) {
  // Shared memory is not cleared.
  std::vector<float> sums(kPoolThreads, std::numeric_limits<float>::quiet_NaN());
  PoolBlock<Element>(HostMachine<HostMemory>(kPoolThreads, order), job, block, sums.data());
}

void RunBlock(TokenType type, const PoolJob& job, uint32_t block, ThreadOrder order) {
  switch (type) {
    case TokenType::kFloat32:
      return RunBlock<float>(job, block, order);
    case TokenType::kFloat16:
      return RunBlock<Float16>(job, block, order);
    case TokenType::kBfloat16:
      return RunBlock<Bfloat16>(job, block, order);
  }
}

std::vector<float> RowsOfTheKernel(const PoolBatch& batch, ThreadOrder order) {
  const PoolShape shape = batch.shape();
  std::vector<float> rows(batch.prompts() * batch.dim(), std::numeric_limits<float>::quiet_NaN());
  PoolJob job{.tokens = reinterpret_cast<uint64_t>(batch.tokens().data()),
              .dim = shape.dim,
              .pooling = shape.pooling,
              .normalize = shape.normalize ? 1u : 0u,
              .rows = {},
              .first = {}};
  for (size_t i = 0; i < batch.prompts(); ++i) job.rows[i] = reinterpret_cast<uint64_t>(&rows[i * shape.dim]);
  std::copy(shape.offsets.begin(), shape.offsets.end(), job.first);
  for (uint32_t block = 0; block < batch.prompts(); ++block) RunBlock(shape.type, job, block, order);
  return rows;
}

void ExpectTwins(ThreadOrder order) {
  for (const PoolCase& made : EveryCase(Values::kWild)) {
    const PoolBatch batch(made);
    ASSERT_TRUE(SameRows(batch.RowsOnCpu(), RowsOfTheKernel(batch, order), made.dim)) << NameOf(made);
  }
}

TEST(PoolBlock, IsItsTwinBitForBit) {
  ExpectTwins(ThreadOrder::kAscending);
}

TEST(PoolBlock, NoThreadDependsOnAnotherBetweenTwoBarriers) {
  ExpectTwins(ThreadOrder::kDescending);
}

// All numbers of 16 bits, by two ways to read them.
TEST(PoolBlock, EveryElementOfHalfTheSizeIsWidenedAsInTheTwin) {
  constexpr size_t kAll = 1u << 16;
  std::vector<uint16_t> elements(kAll);
  for (size_t i = 0; i < kAll; ++i) elements[i] = static_cast<uint16_t>(i);
  for (const TokenType type : {TokenType::kFloat16, TokenType::kBfloat16}) {
    std::vector<float> expected(kAll);
    float* const rows[] = {expected.data()};
    const uint32_t offsets[] = {0, 1};
    PoolOnCpu({type, TokenPooling::kFirst, false, kAll, offsets}, elements.data(), rows);
    std::vector<float> got(kAll);
    for (size_t i = 0; i < kAll; ++i) {
      got[i] = type == TokenType::kFloat16 ? HostMachine<HostMemory>::Widen(Float16{elements[i]})
                                           : HostMachine<HostMemory>::Widen(Bfloat16{elements[i]});
    }
    EXPECT_TRUE(SameRows(expected, got, kAll));
    EXPECT_EQ(expected[type == TokenType::kFloat16 ? 0x3E00 : 0x3FC0], 1.5f);
  }
}

// What the cases are worth: the order shows in them.
TEST(PoolBlock, OtherOrdersGiveOtherBits) {
  size_t differ = 0;
  for (const PoolCase& made : EveryCase(Values::kWild)) {
    if (!made.normalize) continue;
    const PoolBatch batch(made);
    const std::vector<float> rows = batch.RowsOnCpu();
    std::vector<float> pooled(rows.size());
    PoolShape shape = batch.shape();
    shape.normalize = false;
    std::vector<float*> places;
    for (size_t i = 0; i < batch.prompts(); ++i) places.push_back(&pooled[i * made.dim]);
    PoolOnCpu(shape, batch.tokens().data(), places);
    for (size_t i = 0; i < batch.prompts(); ++i) {
      float squares = 0;  // all in one sum
      for (size_t d = 0; d < made.dim; ++d) squares += places[i][d] * places[i][d];
      const float norm = std::max(std::sqrt(squares), kSmallestNorm);
      for (size_t d = 0; d < made.dim; ++d) {
        if (!Same(places[i][d] / norm, rows[i * made.dim + d])) ++differ;
      }
    }
  }
  EXPECT_GT(differ, 1000u);
}

}  // namespace
}  // namespace zerohop::pool_test

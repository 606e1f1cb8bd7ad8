#include "tests/replica_shim/cuda/pool_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "replica_shim/cuda/pool_on_cpu.h"

namespace zerohop::pool_test {
namespace {

// How a type lays out its bits.
struct Layout {
  int exponent_bits;
  int fraction_bits;

  uint32_t largest() const { return (1u << exponent_bits) - 1; }  // the exponent of infinity and NaN
  uint32_t bias() const { return largest() >> 1; }
  uint32_t Bits(uint32_t sign, uint32_t exponent, uint32_t fraction) const {
    return sign << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction;
  }
};

Layout LayoutOf(TokenType type) {
  switch (type) {
    case TokenType::kFloat32:
      return {8, 23};
    case TokenType::kFloat16:
      return {5, 10};
    case TokenType::kBfloat16:
      return {8, 7};
  }
  return {};
}

const char* TextOf(TokenType type) {
  constexpr const char* kTexts[] = {"float32", "float16", "bfloat16"};
  return kTexts[static_cast<size_t>(type)];
}

const char* TextOf(TokenPooling pooling) {
  constexpr const char* kTexts[] = {"mean", "first", "last"};
  return kTexts[static_cast<size_t>(pooling)];
}

// Kinds of prompts; ordinary ones are the most.
enum class Kind { kOrdinary, kZeros, kSubnormals, kTiny, kHuge, kWithNan, kWithInfinity, kAnyBits, kKinds };

// Exponents that a kind takes, from a first one on.
struct Exponents {
  uint32_t first;
  uint32_t count;
};

Exponents ExponentsOf(Kind kind, const Layout& layout) {
  const uint32_t bias = layout.bias();
  switch (kind) {
    case Kind::kZeros:
    case Kind::kSubnormals:
      return {0, 1};
    case Kind::kTiny:  // the norm is less than 1e-12, and squares underflow; of float16 as small as it gets
      return {bias > 90 ? bias - 90 : 0, bias > 90 ? 40u : 1};
    case Kind::kHuge:  // sums and squares overflow
      return {layout.largest() - 3, 3};
    case Kind::kAnyBits:
      return {0, layout.largest() + 1};
    case Kind::kOrdinary:
    case Kind::kWithNan:
    case Kind::kWithInfinity:
    case Kind::kKinds:
      break;
  }
  return {bias - 12, 16};  // far enough apart for sums to be rounded in any type
}

}  // namespace

std::string NameOf(const PoolCase& pool_case) {
  return absl::StrCat(TextOf(pool_case.pooling), " of ", TextOf(pool_case.type), " by ", pool_case.dim, ", ",
                      pool_case.lengths.size(), " prompts", pool_case.normalize ? ", normalized" : "");
}

std::vector<PoolCase> EveryCase(Values values) {
  std::vector<PoolCase> cases;
  std::mt19937 random(7);
  for (const size_t dim : {1, 31, 32, 33, 384, 768, 1000, 1023, 1024, 1025, 3000, 4096}) {
    for (const TokenType type : kTypes) {
      for (const TokenPooling pooling : kPoolings) {
        for (const bool normalize : {true, false}) {
          PoolCase made{type, pooling, normalize, dim, {}, values};
          // Long prompts of short tokens only: the twin is slow.
          const uint32_t longest = dim < 100 ? 700 : 40;
          for (size_t left = 1 + random() % 6; left > 0; --left) {
            made.lengths.push_back(random() % 2 == 0 ? 1 + random() % 4 : 1 + random() % longest);
          }
          cases.push_back(std::move(made));
        }
      }
    }
  }
  return cases;
}

PoolCase ManyPrompts() {
  PoolCase made;
  made.dim = 5;
  for (uint32_t i = 0; i < 600; ++i) made.lengths.push_back(1 + i % 3);
  return made;
}

PoolBatch::PoolBatch(PoolCase pool_case)
    : case_(std::move(pool_case)), random_(static_cast<uint32_t>(case_.dim * 31 + case_.lengths.size())) {
  offsets_.push_back(0);
  for (const uint32_t length : case_.lengths) offsets_.push_back(offsets_.back() + length);
  if (case_.values == Values::kEven) {
    AppendEven();
  } else {
    AppendWild();
  }
}

void PoolBatch::Append(uint32_t bits) {
  const size_t bytes = BytesOf(case_.type);
  tokens_.resize(tokens_.size() + bytes);
  std::memcpy(tokens_.data() + tokens_.size() - bytes, &bits, bytes);  // the lower half, on what we run on
}

void PoolBatch::AppendEven() {
  const Layout layout = LayoutOf(case_.type);
  for (size_t i = 0; i < offsets_.back() * case_.dim; ++i) {
    const auto number = static_cast<int>(random_() % 255) - 127;
    meant_.push_back(number / 64.0);
    const auto magnitude = static_cast<uint32_t>(std::abs(number));
    if (number == 0) {
      Append(0);
      continue;
    }
    const auto power = static_cast<uint32_t>(std::bit_width(magnitude)) - 1;
    const uint32_t fraction = (magnitude << (static_cast<uint32_t>(layout.fraction_bits) - power)) &
                              ((1u << layout.fraction_bits) - 1);
    Append(layout.Bits(number < 0 ? 1 : 0, layout.bias() + power - 6, fraction));
  }
}

void PoolBatch::AppendWild() {
  const Layout layout = LayoutOf(case_.type);
  for (size_t prompt = 0; prompt < case_.lengths.size(); ++prompt) {
    const bool ordinary = random_() % 2 == 0;
    const auto kind =
        ordinary ? Kind::kOrdinary : static_cast<Kind>(random_() % static_cast<uint32_t>(Kind::kKinds));
    const Exponents exponents = ExponentsOf(kind, layout);
    const size_t elements = size_t{case_.lengths[prompt]} * case_.dim;
    const size_t odd_one = random_() % elements;
    for (size_t i = 0; i < elements; ++i) {
      uint32_t exponent = exponents.first + random_() % exponents.count;
      uint32_t fraction = kind == Kind::kZeros ? 0 : random_() % (1u << layout.fraction_bits);
      if (i == odd_one && (kind == Kind::kWithNan || kind == Kind::kWithInfinity)) {
        exponent = layout.largest();
        fraction = kind == Kind::kWithNan ? fraction | 1 : 0;
      }
      Append(layout.Bits(random_() % 2, exponent, fraction));
    }
  }
}

PoolShape PoolBatch::shape() const {
  return {case_.type, case_.pooling, case_.normalize, case_.dim, offsets_};
}

std::vector<float> PoolBatch::RowsOnCpu() const {
  std::vector<float> rows(prompts() * dim());
  std::vector<float*> places;
  for (size_t i = 0; i < prompts(); ++i) places.push_back(rows.data() + i * dim());
  PoolOnCpu(shape(), tokens_.data(), places);
  return rows;
}

bool Same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

testing::AssertionResult SameRows(std::span<const float> expected, std::span<const float> got, size_t dim) {
  if (expected.size() != got.size()) return testing::AssertionFailure() << "not as many floats";
  for (size_t i = 0; i < expected.size(); ++i) {
    if (Same(expected[i], got[i])) continue;
    return testing::AssertionFailure() << absl::StrFormat("float %d of row %d: expected %a, got %a", i % dim,
                                                          i / dim, expected[i], got[i]);
  }
  return testing::AssertionSuccess();
}

}  // namespace zerohop::pool_test

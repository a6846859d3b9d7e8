#include "tierod/core/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <set>
#include <vector>

#include "tierod/core/error.h"

namespace tierod {
namespace {

using Block = std::array<std::uint32_t, 4>;

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRandom, DependsOnEachPartOfTheAddress) {
  const CounterRandom random(3, "token");
  std::set<std::uint64_t> seen = {
      random.bits(1, 2, 3),
      random.bits(1ULL << 32 | 1, 2, 3),
      random.bits(2, 2, 3),
      random.bits(1, 3, 3),
      random.bits(1, 2, 4),
      random.bits(2, 1, 3),
      CounterRandom(4, "token").bits(1, 2, 3),
      CounterRandom(3, "action_noise").bits(1, 2, 3),
      CounterRandom(3, "").bits(1, 2, 3),
  };
  EXPECT_EQ(seen.size(), 9U);
  EXPECT_EQ(random.bits(1, 2, 3), CounterRandom(3, "token").bits(1, 2, 3));
}

constexpr std::uint32_t kDraws = 200000;

struct Sample {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0;
};

template <typename Draw>
Sample sample(const Draw& draw) {
  std::vector<double> x(kDraws);
  for (std::uint32_t i = 0; i < kDraws; ++i) x[i] = draw(i);
  Sample s;
  for (const double v : x) s.mean += v / kDraws;
  for (const double v : x) s.variance += (v - s.mean) * (v - s.mean) / kDraws;
  for (const double v : x) {
    const double z = (v - s.mean) / std::sqrt(s.variance);
    s.skewness += z * z * z / kDraws;
    s.kurtosis += z * z * z * z / kDraws;
  }
  return s;
}

// Bounds are five standard errors of the moment under the exact distribution.
TEST(CounterRandom, UniformHasItsMoments) {
  const CounterRandom random(11, "uniform");
  double low = 1, high = 0;
  const Sample s = sample([&](std::uint32_t i) {
    const double u = random.uniform(i / 1000, i % 1000, 5);
    low = std::min(low, u);
    high = std::max(high, u);
    return u;
  });
  const double n = kDraws;
  EXPECT_GT(low, 0.0);
  EXPECT_LT(high, 1.0);
  EXPECT_LT(low, 1e-3);
  EXPECT_GT(high, 1 - 1e-3);
  EXPECT_NEAR(s.mean, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(s.variance, 1.0 / 12, 5 * std::sqrt((1.0 / 80 - 1.0 / 144) / n));
  EXPECT_NEAR(s.kurtosis, 1.8, 0.03);
}

TEST(CounterRandom, NormalHasItsMoments) {
  const CounterRandom random(12, "normal");
  const Sample s = sample([&](std::uint32_t i) { return random.normal(0, 0, i); });
  const double n = kDraws;
  EXPECT_NEAR(s.mean, 0.0, 5 * std::sqrt(1 / n));
  EXPECT_NEAR(s.variance, 1.0, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(s.skewness, 0.0, 5 * std::sqrt(6 / n));
  EXPECT_NEAR(s.kurtosis, 3.0, 5 * std::sqrt(24 / n));
}

TEST(CounterRandom, GumbelHasItsMoments) {
  const CounterRandom random(13, "gumbel");
  const Sample s = sample([&](std::uint32_t i) { return random.gumbel(7, i, 0); });
  const double variance = std::numbers::pi * std::numbers::pi / 6;
  EXPECT_NEAR(s.mean, std::numbers::egamma, 5 * std::sqrt(variance / kDraws));
  EXPECT_NEAR(s.variance, variance, 5 * variance * std::sqrt(4.4 / kDraws));
  EXPECT_NEAR(s.skewness, 1.1395, 0.05);
}

TEST(CounterRandom, BelowIsUniform) {
  const CounterRandom random(14, "below");
  constexpr std::uint32_t kBound = 7;
  std::array<int, kBound> counts{};
  for (std::uint32_t i = 0; i < kDraws; ++i) {
    const std::uint32_t v = random.below(kBound, 0, i, 0);
    ASSERT_LT(v, kBound);
    ++counts[v];
  }
  double chi2 = 0;
  const double expected = static_cast<double>(kDraws) / kBound;
  for (const int c : counts) chi2 += (c - expected) * (c - expected) / expected;
  EXPECT_LT(chi2, 27.9);  // six degrees of freedom, p = 1e-4
  EXPECT_EQ(random.below(1, 0, 0, 0), 0U);
  EXPECT_THROW(random.below(0, 0, 0, 0), InvalidArgument);
}

}  // namespace
}  // namespace tierod

#include "tierod/stats/jackknife.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/influence.h"

namespace tierod::stats {
namespace {

double mean_of(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

Estimator weighted_mean(const std::vector<double>& x) {
  return [&x](std::span<const double> w) {
    return std::inner_product(w.begin(), w.end(), x.begin(), 0.0) /
           std::accumulate(w.begin(), w.end(), 0.0);
  };
}

TEST(Influence, OfAMeanWithOneRowAClusterIsTheUsualVariance) {
  const std::vector<double> x = normals(40, 1);
  const Influence i = mean_influence(x, groups_of(40, 1));
  double squares = 0;
  for (const double v : x) squares += (v - mean_of(x)) * (v - mean_of(x));
  EXPECT_NEAR(i.estimate, mean_of(x), 1e-14);
  EXPECT_NEAR(influence_variance(i.contributions), squares / 39 / 40, 1e-14);
  EXPECT_NEAR(mean_of(i.contributions), 0, 1e-14);
}

// A cluster's contribution is the derivative of the estimate with respect to its weight, times G.
TEST(Influence, IsTheDerivativeWithRespectToTheClustersWeight) {
  const std::vector<double> x = normals(24, 2);
  const std::vector<std::uint8_t> y = alternating(24);
  std::vector<std::int64_t> g;
  for (int i = 0; i < 24; ++i) g.push_back(i * i % 7);  // unequal clusters
  const auto balanced = [&](std::int64_t cluster, double weight) {
    double sum[2] = {0, 0}, mass[2] = {0, 0};
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double w = g[i] == cluster ? weight : 1.0;
      sum[y[i]] += w * x[i];
      mass[y[i]] += w;
    }
    return (sum[0] / mass[0] + sum[1] / mass[1]) / 2;
  };
  const Influence i = balanced_influence(x, y, g);
  std::vector<std::int64_t> labels = g;
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  ASSERT_EQ(i.contributions.size(), labels.size());
  EXPECT_NEAR(i.estimate, balanced(-1, 1), 1e-14);
  for (std::size_t c = 0; c < labels.size(); ++c) {
    constexpr double kStep = 1e-5;
    const double slope =
        (balanced(labels[c], 1 + kStep) - balanced(labels[c], 1 - kStep)) / (2 * kStep);
    EXPECT_NEAR(i.contributions[c], slope * static_cast<double>(labels.size()), 1e-8);
  }
}

TEST(Influence, RefusesBadInput) {
  const std::vector<double> x = {1, 2, 3, 4};
  const std::vector<std::int64_t> g = {0, 0, 1, 1};
  EXPECT_THROW(mean_influence(x, g, std::vector<double>{1, 1, -1, 1}), InvalidArgument);
  EXPECT_THROW(mean_influence(x, g, std::vector<double>{0, 0, 0, 0}), InvalidArgument);
  EXPECT_THROW(mean_influence(x, g, std::vector<double>{1, 1}), InvalidArgument);
  EXPECT_THROW(balanced_influence(x, std::vector<std::uint8_t>{1, 1, 1, 1}, g), InvalidArgument);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              balanced_influence(x, std::vector<std::uint8_t>{1, 0, 255, 1}, g);
            }).find("got 255 at index 2"),
            std::string::npos);
  EXPECT_THROW(influence_variance(std::vector<double>{1}), InvalidArgument);
  EXPECT_THROW(mean_influence(x, groups_of(1, 4)), InvalidArgument);
}

TEST(Jackknife, OfAMeanIsTheUsualStandardError) {
  const std::vector<double> x = normals(15, 3);
  const Interval i = jackknife_interval(weighted_mean(x), x.size());
  double squares = 0;
  for (const double v : x) squares += (v - mean_of(x)) * (v - mean_of(x));
  EXPECT_NEAR(i.estimate, mean_of(x), 1e-14);
  EXPECT_NEAR(i.standard_error, std::sqrt(squares / 14 / 15), 1e-13);
  EXPECT_EQ(i.df, 14);
}

TEST(Jackknife, BlocksHoldWholeClustersAndDifferByAtMostOne) {
  const std::vector<std::uint32_t> block = jackknife_blocks(103, 20, 7);
  std::vector<int> sizes(20, 0);
  for (const std::uint32_t b : block) ++sizes[b];
  const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  EXPECT_EQ(*least, 5);
  EXPECT_EQ(*most, 6);
  EXPECT_EQ(block, jackknife_blocks(103, 20, 7));
  EXPECT_NE(block, jackknife_blocks(103, 20, 8));
  EXPECT_THROW(jackknife_blocks(5, 6), InvalidArgument);
  EXPECT_THROW(jackknife_blocks(5, 1), InvalidArgument);
}

TEST(Jackknife, VarianceOfDeleteGroupRefitsByHand) {
  // mean 2, squares 1 + 0 + 1 = 2, times 2 / 3
  EXPECT_DOUBLE_EQ(delete_group_variance(std::vector<double>{1, 2, 3}), 4.0 / 3);
  EXPECT_THROW(delete_group_variance(std::vector<double>{1}), InvalidArgument);
}

TEST(Jackknife, RefitLeavesEachBlockOutOnce) {
  const std::vector<std::uint32_t> block = jackknife_blocks(10, 3, 1);
  std::vector<std::vector<double>> seen;
  const std::vector<double> refits = delete_group_refits(
      [&](std::span<const double> w) {
        seen.emplace_back(w.begin(), w.end());
        return std::accumulate(w.begin(), w.end(), 0.0);
      },
      10, 3, 1);
  ASSERT_EQ(seen.size(), 3U);
  for (std::size_t k = 0; k < 3; ++k) {
    for (std::size_t g = 0; g < 10; ++g) EXPECT_EQ(seen[k][g], block[g] == k ? 0 : 1);
    EXPECT_EQ(refits[k], std::accumulate(seen[k].begin(), seen[k].end(), 0.0));
  }
}

TEST(Jackknife, NamesTheRefitThatFailed) {
  int calls = 0;
  const std::string message = message_of<NumericalError>([&] {
    delete_group_refits(
        [&](std::span<const double>) {
          return calls++ == 2 ? std::numeric_limits<double>::quiet_NaN() : 1.0;
        },
        10, 5);
  });
  EXPECT_NE(message.find("without block 2 of 5"), std::string::npos) << message;
}

TEST(RefitInterval, AddsBothVariancesAndTakesTheSmallerDf) {
  const Influence test{.estimate = 0.5, .contributions = {1, -1, 2, -2, 0}};
  const std::vector<double> refits = {0.4, 0.5, 0.6};
  const RefitInterval r = refit_interval(test, refits);
  EXPECT_DOUBLE_EQ(r.refit_variance, 2.0 / 3 * 0.02);
  EXPECT_DOUBLE_EQ(r.test_variance, 10.0 / 4 / 5);
  EXPECT_EQ(r.interval.df, 2);  // min(3, 5) - 1
  EXPECT_NEAR(r.interval.high - 0.5, student_t_quantile(0.975, 2) * std::sqrt(2.0 / 3 * 0.02 + 0.5),
              1e-12);
  EXPECT_EQ(r.refits, 3U);
  EXPECT_EQ(r.interval.clusters, 5U);
  EXPECT_THROW(refit_interval(test, std::vector<double>{1}), InvalidArgument);
}

}  // namespace
}  // namespace tierod::stats

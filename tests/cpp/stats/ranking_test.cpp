#include "tierod/stats/ranking.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/calibration.h"
#include "tierod/stats/trend.h"

namespace tierod::stats {
namespace {

/// Compare every pair.
double naive_auroc(const std::vector<double>& s, const std::vector<std::uint8_t>& y,
                   const std::vector<double>& w) {
  double pairs = 0, mass = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (std::size_t j = 0; j < s.size(); ++j) {
      if (y[i] != 1 || y[j] != 0) continue;
      mass += w[i] * w[j];
      pairs += w[i] * w[j] * (s[i] > s[j] ? 1 : (s[i] == s[j] ? 0.5 : 0));
    }
  }
  return pairs / mass;
}

struct Data {
  std::vector<double> scores, weights;
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> groups;
};

// Scores on a coarse grid, so that most are tied, also across classes.
Data tied(std::size_t n, std::uint64_t seed) {
  Data d;
  const std::vector<double> z = normals(n, seed), u = normals(n, seed, 1);
  for (std::size_t i = 0; i < n; ++i) {
    d.labels.push_back(static_cast<std::uint8_t>(i % 3 == 0));
    d.scores.push_back(std::round(2 * (z[i] + d.labels[i])) / 2);
    d.weights.push_back(std::abs(u[i]));
    d.groups.push_back(static_cast<std::int64_t>(i / 6));
  }
  return d;
}

TEST(Auroc, AgreesWithEveryPairUnderTiesAndWeights) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Data d = tied(91, seed);
    EXPECT_NEAR(auroc(d.scores, d.labels, d.weights), naive_auroc(d.scores, d.labels, d.weights),
                1e-13);
    EXPECT_NEAR(auroc(d.scores, d.labels),
                naive_auroc(d.scores, d.labels, std::vector<double>(91, 1)), 1e-13);
  }
  EXPECT_EQ(auroc(std::vector<double>{3, 3, 3, 3}, alternating(4)), 0.5);
  EXPECT_EQ(auroc(std::vector<double>{0, 1, 0, 1}, alternating(4)), 1);
}

TEST(Auroc, AnIntegerWeightIsARepetition) {
  const Data d = tied(40, 4);
  std::vector<double> scores, weights;
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < 40; ++i) {
    weights.push_back(static_cast<double>(i % 4));
    for (std::size_t k = 0; k < i % 4; ++k) {
      scores.push_back(d.scores[i]);
      labels.push_back(d.labels[i]);
    }
  }
  EXPECT_NEAR(auroc(d.scores, d.labels, weights), auroc(scores, labels), 1e-14);
  EXPECT_NEAR(auprc(d.scores, d.labels, weights), auprc(scores, labels), 1e-14);
}

// Thresholds 3, 2, 1: precision 1, 2/3 (two tied at 2), 2/4; recall 1/2, 1, 1.
TEST(Auprc, WorkedByHand) {
  const std::vector<double> s = {3, 2, 2, 1};
  const std::vector<std::uint8_t> y = {1, 1, 0, 0};
  EXPECT_DOUBLE_EQ(auprc(s, y), 0.5 * 1 + 0.5 * 2 / 3);
  EXPECT_DOUBLE_EQ(auprc(std::vector<double>{5, 5, 5, 5}, y), 0.5);  // no information: prevalence
}

TEST(AurocInfluence, IsTheDerivativeWithRespectToTheClustersWeight) {
  const Data d = tied(60, 5);
  const Influence influence = auroc_influence(d.scores, d.labels, d.groups);
  ASSERT_EQ(influence.contributions.size(), 10U);
  EXPECT_NEAR(influence.estimate, auroc(d.scores, d.labels), 1e-14);
  for (std::int64_t g = 0; g < 10; ++g) {
    const auto at = [&](double weight) {
      std::vector<double> w(60, 1.0);
      for (std::size_t i = 0; i < 60; ++i) {
        if (d.groups[i] == g) w[i] = weight;
      }
      return naive_auroc(d.scores, d.labels, w);
    };
    const double slope = (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5;
    EXPECT_NEAR(influence.contributions[static_cast<std::size_t>(g)], 10 * slope, 1e-7);
  }
}

TEST(RankingInterval, MethodsAgreeOnAWellBehavedSample) {
  const Data d = tied(600, 6);
  RankingOptions options{.replicates = 4000};
  const Interval reference = [&] {
    options.method = RankingMethod::influence;
    return ranking_interval(d.scores, d.labels, d.groups, options);
  }();
  for (const RankingMethod method :
       {RankingMethod::jackknife, RankingMethod::percentile, RankingMethod::bca}) {
    options.method = method;
    const Interval i = ranking_interval(d.scores, d.labels, d.groups, options);
    EXPECT_NEAR(i.estimate, reference.estimate, 1e-14);
    EXPECT_NEAR(i.standard_error / reference.standard_error, 1, 0.1);
    EXPECT_NEAR(i.low, reference.low, 0.3 * reference.standard_error) << i.method;
    EXPECT_NEAR(i.high, reference.high, 0.3 * reference.standard_error) << i.method;
  }
  options.method = RankingMethod::automatic;
  EXPECT_EQ(ranking_interval(d.scores, d.labels, d.groups, options).method, "bca");
  const Data few = tied(60, 6);
  EXPECT_EQ(ranking_interval(few.scores, few.labels, few.groups).method, "jackknife t");
}

TEST(RankingDifference, OfAScoreWithItselfIsExactlyZeroAndPairingHelps) {
  const Data d = tied(300, 7);
  const std::vector<double> noise = normals(300, 8);
  std::vector<double> other = d.scores;
  for (std::size_t i = 0; i < 300; ++i) other[i] += 0.05 * noise[i];
  RankingOptions options{.method = RankingMethod::influence};
  const Interval same = ranking_difference(d.scores, d.scores, d.labels, d.groups, options);
  EXPECT_EQ(same.estimate, 0);
  EXPECT_EQ(same.standard_error, 0);
  const Interval paired = ranking_difference(d.scores, other, d.labels, d.groups, options);
  const Interval alone = ranking_interval(d.scores, d.labels, d.groups, options);
  EXPECT_NEAR(paired.estimate, auroc(d.scores, d.labels) - auroc(other, d.labels), 1e-14);
  EXPECT_LT(paired.standard_error, alone.standard_error / 3);
  options = {.measure = RankingMeasure::auprc, .method = RankingMethod::percentile};
  const Interval precision = ranking_difference(d.scores, other, d.labels, d.groups, options);
  EXPECT_NEAR(precision.estimate, auprc(d.scores, d.labels) - auprc(other, d.labels), 1e-14);
}

TEST(Ranking, RefusesBadInput) {
  const std::vector<double> s = {1, 2, 3, 4};
  const std::vector<std::uint8_t> y = {0, 1, 0, 1};
  const std::vector<std::int64_t> g = {0, 0, 1, 1};
  EXPECT_THROW(auroc(s, std::vector<std::uint8_t>{1, 1, 1, 1}), InvalidArgument);
  EXPECT_THROW(auroc(s, std::vector<std::uint8_t>{0, 1, 255, 1}), InvalidArgument);
  EXPECT_THROW(auroc({}, {}), InvalidArgument);
  EXPECT_THROW(auprc(s, std::vector<std::uint8_t>{0, 1}), InvalidArgument);
  EXPECT_THROW(auroc(s, y, std::vector<double>{1, 0, 1, 0}), InvalidArgument);
  EXPECT_THROW(auroc(std::vector<double>{1, std::nan(""), 3, 4}, y), NumericalError);
  EXPECT_THROW(ranking_interval(s, y, std::vector<std::int64_t>{0, 0, 0, 0}), InvalidArgument);
  EXPECT_THROW(ranking_interval(
                   s, y, g, {.measure = RankingMeasure::auprc, .method = RankingMethod::influence}),
               InvalidArgument);
  // each cluster holds one class: half of the bootstrap resamples hold one class only
  const std::vector<std::uint8_t> apart = {0, 0, 1, 1};
  EXPECT_THROW(ranking_interval(s, apart, g, {.method = RankingMethod::bca}), NumericalError);
}

TEST(Calibration, WorkedByHand) {
  const std::vector<double> p = {0.1, 0.4, 0.6, 0.9};
  const std::vector<std::uint8_t> y = {0, 1, 0, 1};
  const Calibration c = calibration(p, y, 2);
  ASSERT_EQ(c.bins.size(), 2U);
  EXPECT_DOUBLE_EQ(c.bins[0].mean_probability, 0.25);
  EXPECT_DOUBLE_EQ(c.bins[0].frequency, 0.5);
  EXPECT_NEAR(c.ece, 0.5 * 0.25 + 0.5 * 0.25, 1e-15);
  EXPECT_NEAR(c.brier, (0.01 + 0.36 + 0.36 + 0.01) / 4, 1e-15);
  EXPECT_NEAR(c.log_loss, -(2 * std::log(0.9) + 2 * std::log(0.4)) / 4, 1e-14);
  EXPECT_THROW(calibration(p, y, 5), InvalidArgument);
  EXPECT_THROW(calibration(std::vector<double>{0.5, 1.5}, alternating(2), 1), InvalidArgument);
  EXPECT_THROW(calibration({}, {}, 1), InvalidArgument);
}

TEST(Calibration, TiedProbabilitiesDoNotDependOnTheOrderOfRows) {
  const std::vector<double> p = {0.2, 0.2, 0.2, 0.2, 0.8, 0.8};
  const Calibration a = calibration(p, std::vector<std::uint8_t>{1, 0, 0, 0, 1, 1}, 3);
  const Calibration b = calibration(p, std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1}, 3);
  EXPECT_EQ(a.bins.size(), 2U);
  EXPECT_NEAR(a.ece, (4 * 0.05 + 2 * 0.2) / 6, 1e-15);
  EXPECT_NEAR(a.ece, b.ece, 1e-15);
}

/// P(L >= observed) by all orders of all rows.
double brute_force_page(const std::vector<std::vector<double>>& ranks, double observed) {
  std::vector<double> sums = {0};
  for (std::vector<double> row : ranks) {
    std::vector<std::size_t> order(row.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::vector<double> next;
    do {
      double l = 0;
      for (std::size_t j = 0; j < row.size(); ++j) l += static_cast<double>(j + 1) * row[order[j]];
      for (const double s : sums) next.push_back(s + l);
    } while (std::next_permutation(order.begin(), order.end()));
    sums = next;
  }
  const auto above =
      std::count_if(sums.begin(), sums.end(), [&](double s) { return s >= observed - 1e-9; });
  return static_cast<double>(above) / static_cast<double>(sums.size());
}

TEST(PageTrend, ExactAgreesWithAllOrdersTiesIncluded) {
  const std::vector<double> x = {0.1, 0.3, 0.2, 0.9,  //
                                 1.0, 1.0, 2.0, 3.0,  // tie
                                 5.0, 7.0, 7.0, 7.0};
  const Trend t = page_trend(x, 4, TrendMethod::exact);
  const std::vector<std::vector<double>> ranks = {{1, 3, 2, 4}, {1.5, 1.5, 3, 4}, {1, 3, 3, 3}};
  double l = 0;
  for (const auto& row : ranks) {
    for (std::size_t j = 0; j < 4; ++j) l += static_cast<double>(j + 1) * row[j];
  }
  EXPECT_DOUBLE_EQ(t.statistic, l);
  EXPECT_NEAR(t.p, brute_force_page(ranks, l), 1e-12);
  EXPECT_TRUE(t.exact);
  EXPECT_NEAR(page_trend(x, 4, TrendMethod::normal).p, t.p, 0.02);
}

TEST(PageTrend, KnowsTheExtremesAndRefusesBadInput) {
  const std::vector<double> rising = {1, 2, 3, 1, 2, 3};
  EXPECT_NEAR(page_trend(rising, 3).p, 1.0 / 36, 1e-14);
  const std::vector<double> falling = {3, 2, 1, 3, 2, 1};
  EXPECT_NEAR(page_trend(falling, 3).p, 1, 1e-14);
  EXPECT_FALSE(page_trend(normals(40000, 1), 8).exact);
  EXPECT_THROW(page_trend(rising, 2), InvalidArgument);
  EXPECT_THROW(page_trend(rising, 4), InvalidArgument);
  EXPECT_THROW(page_trend(std::vector<double>{1, 1, 1}, 3), InvalidArgument);
  EXPECT_THROW(page_trend(std::vector<double>{1, std::nan(""), 1}, 3), NumericalError);
  EXPECT_THROW(page_trend(normals(13, 1), 13, TrendMethod::exact), InvalidArgument);
}

}  // namespace
}  // namespace tierod::stats

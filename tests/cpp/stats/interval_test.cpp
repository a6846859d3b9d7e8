#include "tierod/stats/interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/equivalence.h"
#include "tierod/stats/icc.h"
#include "tierod/stats/power.h"

namespace tierod::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Distributions, AgreeWithTables) {
  EXPECT_NEAR(student_t_quantile(0.975, 7), 2.3646242515927845, 1e-12);
  EXPECT_NEAR(student_t_quantile(0.975, 1), 12.706204736174698, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, kInfinity), 1.959963984540054, 1e-12);
  EXPECT_NEAR(student_t_cdf(1.0, 1), 0.75, 1e-15);
  EXPECT_NEAR(normal_cdf(1.0), 0.8413447460685429, 1e-15);
  // the tail keeps its digits: Cauchy, P(T > t) = atan(1 / t) / pi
  EXPECT_NEAR(student_t_sf(1e9, 1) * 1e9 * std::acos(-1.0), 1.0, 1e-12);
  EXPECT_EQ(student_t_sf(kInfinity, 3), 0);
}

TEST(Distributions, RefuseWhatIsNoProbability) {
  EXPECT_THROW(student_t_quantile(0, 3), InvalidArgument);
  EXPECT_THROW(student_t_quantile(0.5, 0), InvalidArgument);
  EXPECT_THROW(student_t_cdf(kNaN, 3), InvalidArgument);
  EXPECT_THROW(normal_quantile(1), InvalidArgument);
  EXPECT_THROW(normal_cdf(kNaN), InvalidArgument);
}

TEST(Clusters, AreNumberedByLabelWhateverTheOrderOfRows) {
  const Clusters clusters(std::vector<std::int64_t>{7, -2, 7, 100, -2, 7});
  EXPECT_EQ(clusters.size(), 3U);
  EXPECT_EQ(std::vector<std::int64_t>(clusters.labels().begin(), clusters.labels().end()),
            (std::vector<std::int64_t>{-2, 7, 100}));
  EXPECT_EQ(clusters.sums(std::vector<double>{1, 2, 3, 4, 5, 6}), (std::vector<double>{7, 10, 4}));
  EXPECT_EQ(clusters.means(std::vector<double>{1, 2, 3, 4, 5, 5}),
            (std::vector<double>{3.5, 3, 4}));
  EXPECT_THROW(clusters.sums(std::vector<double>{1}), InvalidArgument);
}

// Three scenes with means 1, 2, 6: mean 3, s^2 = 7, se = sqrt(7 / 3), t(.975, 2) in closed form.
TEST(ClusterTInterval, WorkedByHand) {
  const std::vector<double> x = {1, 1, 1, 1, 1.5, 2.5, 6};
  const std::vector<std::int64_t> g = {5, 5, 5, 5, 6, 6, 9};
  const Interval i = cluster_t_interval(x, g);
  EXPECT_DOUBLE_EQ(i.estimate, 3);
  EXPECT_NEAR(i.standard_error, std::sqrt(7.0 / 3), 1e-14);
  const double t = 0.95 / std::sqrt(2 * 0.975 * 0.025);
  EXPECT_NEAR(i.high - 3, t * std::sqrt(7.0 / 3), 1e-12);
  EXPECT_NEAR(3 - i.low, i.high - 3, 1e-12);
  EXPECT_EQ(i.df, 2);
  EXPECT_EQ(i.clusters, 3U);
  EXPECT_TRUE(i.excludes(10));
  EXPECT_FALSE(i.excludes(0));
  EXPECT_TRUE(i.inside(-10, 10));
  EXPECT_FALSE(i.inside(0, 10));
}

TEST(ClusterTInterval, DoesNotDependOnTheOrderOfRowsOrTheNamesOfGroups) {
  const std::vector<double> x = {0.25, 1.5, -2, 4, 0.125, 8};
  const Interval a = cluster_t_interval(x, std::vector<std::int64_t>{1, 1, 2, 2, 3, 3});
  const std::vector<double> y = {8, 0.25, -2, 1.5, 4, 0.125};
  const Interval b = cluster_t_interval(y, std::vector<std::int64_t>{30, 10, 20, 10, 20, 30});
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
}

TEST(ClusterTInterval, RefusesBadInput) {
  const std::vector<double> x = {1, 2, 3};
  const std::vector<std::int64_t> one = {4, 4, 4}, two = {4, 4, 5};
  EXPECT_NE(message_of<InvalidArgument>([&] {
              cluster_t_interval(x, one);
            }).find("[stats.cluster_t_interval] expected at least 2 clusters, got 1"),
            std::string::npos);
  EXPECT_THROW(cluster_t_interval({}, {}), InvalidArgument);
  EXPECT_THROW(cluster_t_interval(x, std::span(two).first(2)), InvalidArgument);
  EXPECT_THROW(cluster_t_interval(x, two, 1.0), InvalidArgument);
  const std::vector<double> bad = {1, kNaN, 3};
  EXPECT_NE(message_of<NumericalError>([&] { cluster_t_interval(bad, two); }).find("index 1"),
            std::string::npos);
  EXPECT_THROW(t_test(t_interval(1, 0, 3)), InvalidArgument);
  EXPECT_THROW(t_interval(1, -1, 3), InvalidArgument);
  EXPECT_THROW(t_interval(kNaN, 1, 3), InvalidArgument);
}

TEST(Tost, TwoOneSidedTestsAndTheIntervalAgree) {
  const Interval estimate = t_interval(0.1, 0.05, 11);
  const Equivalence e = tost(estimate, 0.2);
  EXPECT_NEAR(e.p_upper, student_t_sf(2.0, 11), 1e-15);
  EXPECT_NEAR(e.p_lower, student_t_sf(6.0, 11), 1e-15);
  EXPECT_EQ(e.p, e.p_upper);
  EXPECT_DOUBLE_EQ(e.interval.confidence, 0.9);
  // p < alpha exactly when the 90 % interval lies inside
  for (const double margin : {0.1, 0.15, 0.18, 0.19, 0.2, 0.3, 1.0}) {
    const Equivalence at = tost(estimate, margin);
    EXPECT_EQ(at.equivalent, at.interval.inside(-margin, margin)) << margin;
  }
  EXPECT_FALSE(tost(estimate, 0.1).equivalent);
  EXPECT_TRUE(tost(estimate, 0.2).equivalent);
  EXPECT_THROW(tost(estimate, 0), InvalidArgument);
  EXPECT_THROW(tost_between(estimate, 0.2, 0.2), InvalidArgument);
  EXPECT_THROW(tost(estimate, 0.2, 0.5), InvalidArgument);
  EXPECT_THROW(tost(t_interval(0, 0, 3), 0.2), InvalidArgument);
  EXPECT_NEAR(tost_between(estimate, -1, 0.2).p_upper, e.p_upper, 1e-15);
}

// Two clusters {1, 3} and {5, 7}: MSB = 16, MSW = 2, n0 = 2, between = 7, icc = 7 / 9.
TEST(ClusterDesign, WorkedByHand) {
  const ClusterDesign d = cluster_design(std::vector<double>{1, 3, 5, 7}, groups_of(2, 2));
  EXPECT_DOUBLE_EQ(d.within_variance, 2);
  EXPECT_DOUBLE_EQ(d.between_variance, 7);
  EXPECT_DOUBLE_EQ(d.icc, 7.0 / 9);
  EXPECT_DOUBLE_EQ(d.design_effect, 1 + 7.0 / 9);
  EXPECT_DOUBLE_EQ(d.effective_rows, 4 / (1 + 7.0 / 9));
}

TEST(ClusterDesign, CopiesOfOneRowAreOneRow) {
  std::vector<double> x;
  for (const double v : {1.0, 4.0, -2.0}) x.insert(x.end(), 5, v);
  const ClusterDesign d = cluster_design(x, groups_of(3, 5));
  EXPECT_DOUBLE_EQ(d.icc, 1);
  EXPECT_DOUBLE_EQ(d.effective_rows, 3);
}

TEST(ClusterDesign, RefusesBadInput) {
  EXPECT_THROW(cluster_design(std::vector<double>{1, 2, 3}, groups_of(3, 1)), InvalidArgument);
  EXPECT_THROW(cluster_design(std::vector<double>{1, 2}, groups_of(1, 2)), InvalidArgument);
  EXPECT_THROW(cluster_design(std::vector<double>{2, 2, 2, 2}, groups_of(2, 2)), NumericalError);
  // not constant, but the same mean everywhere: icc below 0, counted as independent
  const ClusterDesign d = cluster_design(std::vector<double>{1, 3, 3, 1}, groups_of(2, 2));
  EXPECT_LT(d.icc, 0);
  EXPECT_DOUBLE_EQ(d.design_effect, 1);
}

TEST(Power, AgreesWithTablesAndItself) {
  // Cohen 1988: d = .5, two-sided .05, power .80 needs 34 pairs
  const GroupPlan plan = groups_for_effect(0.5, 1.0);
  EXPECT_EQ(plan.groups, 34U);
  EXPECT_GE(plan.power, 0.8);
  EXPECT_LT(t_test_power(0.5, 1.0, 33), 0.8);
  EXPECT_DOUBLE_EQ(t_test_power(0.5, 1.0, 34), t_test_power(-5, 10.0, 34));
  EXPECT_NEAR(t_test_power(0, 1.0, 20), 0.05, 1e-9);  // without an effect: the level
  EXPECT_NEAR(cluster_mean_sd(2, 0.25, 3), 2 * std::sqrt(0.5), 1e-15);
  EXPECT_THROW(groups_for_effect(0, 1), InvalidArgument);
  EXPECT_THROW(groups_for_effect(1e-9, 1), InvalidArgument);
  EXPECT_THROW(t_test_power(1, 0, 10), InvalidArgument);
  EXPECT_THROW(t_test_power(1, 1, 1), InvalidArgument);
  EXPECT_THROW(cluster_mean_sd(1, -0.1, 3), InvalidArgument);
}

// Both sides of the switch to the normal form meet.
TEST(Power, LargeNoncentralityIsContinuous) {
  const double near = t_test_power(0.1, 1.0, 200, 1e-6);
  EXPECT_GT(near, 0);
  for (const std::size_t groups : {999'000U, 1'002'000U}) {
    EXPECT_NEAR(t_test_power(0.0028, 1.0, groups), 0.7995, 2e-3);
  }
}

// The chance that the 90 % interval lies inside +-margin, by drawing samples.
TEST(Power, OfEquivalenceAgreesWithSimulation) {
  constexpr int kDraws = 4000;
  constexpr std::size_t kGroups = 12;
  const std::vector<double> z = normals(kDraws * kGroups, 5);
  const std::vector<std::int64_t> g = groups_of(kGroups, 1);
  int inside = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<double> x(z.begin() + draw * static_cast<std::ptrdiff_t>(kGroups),
                          z.begin() + (draw + 1) * static_cast<std::ptrdiff_t>(kGroups));
    for (double& v : x) v += 0.2;
    if (cluster_tost(x, g, 0.9).equivalent) ++inside;
  }
  const double power = equivalence_power(0.9, 0.2, 1.0, kGroups);
  EXPECT_GT(power, 0.3);
  EXPECT_NEAR(static_cast<double>(inside) / kDraws, power, 4 * std::sqrt(0.25 / kDraws));
  const GroupPlan plan = groups_for_equivalence(0.5, 0.1, 1.0, 0.9);
  EXPECT_GE(equivalence_power(0.5, 0.1, 1.0, plan.groups), 0.9);
  EXPECT_LT(equivalence_power(0.5, 0.1, 1.0, plan.groups - 1), 0.9);
  EXPECT_THROW(groups_for_equivalence(0.5, 0.5, 1.0), InvalidArgument);
}

}  // namespace
}  // namespace tierod::stats

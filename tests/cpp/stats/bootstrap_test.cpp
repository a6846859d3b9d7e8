#include "tierod/stats/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"

namespace tierod::stats {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double weighted_mean(std::span<const double> w, const std::vector<double>& x) {
  return std::inner_product(w.begin(), w.end(), x.begin(), 0.0) /
         std::accumulate(w.begin(), w.end(), 0.0);
}

TEST(BootstrapWeights, AreMultinomialCounts) {
  constexpr std::size_t kClusters = 7;
  constexpr std::size_t kReplicates = 20000;
  std::vector<double> weights(kClusters), mean(kClusters, 0), square(kClusters, 0);
  double cross = 0;
  for (std::size_t r = 0; r < kReplicates; ++r) {
    bootstrap_weights(3, r, weights);
    ASSERT_EQ(std::accumulate(weights.begin(), weights.end(), 0.0), kClusters);
    for (std::size_t g = 0; g < kClusters; ++g) {
      mean[g] += weights[g] / kReplicates;
      square[g] += weights[g] * weights[g] / kReplicates;
    }
    cross += (weights[0] - 1) * (weights[6] - 1) / kReplicates;
  }
  for (std::size_t g = 0; g < kClusters; ++g) {
    EXPECT_NEAR(mean[g], 1, 5 * std::sqrt(6.0 / 7 / kReplicates));
    EXPECT_NEAR(square[g] - mean[g] * mean[g], 6.0 / 7, 0.05);
  }
  EXPECT_NEAR(cross, -1.0 / 7, 0.03);
}

TEST(ClusterBootstrap, DoesNotDependOnBatchOrThreads) {
  const std::vector<double> x = normals(41, 4);
  const Estimator estimator = [&](std::span<const double> w) { return weighted_mean(w, x); };
  BootstrapOptions options{.replicates = 500, .seed = 9};
  const BootstrapResult one = cluster_bootstrap(estimator, x.size(), options);
  for (const auto& [batch, threads] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {7, 3}, {500, 2}}) {
    options.batch = batch;
    options.threads = threads;
    const BootstrapResult other = cluster_bootstrap(estimator, x.size(), options);
    EXPECT_EQ(one.replicates, other.replicates);
    EXPECT_EQ(one.interval.low, other.interval.low);
    EXPECT_EQ(one.interval.high, other.interval.high);
  }
  options.seed = 10;
  EXPECT_NE(one.replicates, cluster_bootstrap(estimator, x.size(), options).replicates);
}

TEST(ClusterBootstrap, ExceptionsLeaveTheThreads) {
  const Estimator estimator = [](std::span<const double> w) -> double {
    if (w[0] > 2) throw std::runtime_error("mine");
    return w[0];
  };
  EXPECT_THROW(cluster_bootstrap(estimator, 40, {.replicates = 200, .threads = 4}),
               std::runtime_error);
}

TEST(ClusterBootstrap, PercentilesAreQuantilesOfTheReplicates) {
  const std::vector<double> x = normals(35, 5);
  const Estimator estimator = [&](std::span<const double> w) { return weighted_mean(w, x); };
  const BootstrapResult result = cluster_bootstrap(
      estimator, x.size(), {.method = BootstrapMethod::percentile, .replicates = 41});
  std::vector<double> sorted = result.replicates;
  std::sort(sorted.begin(), sorted.end());
  // (41 - 1) * .025 = 1: the second smallest
  EXPECT_DOUBLE_EQ(result.interval.low, sorted[1]);
  EXPECT_DOUBLE_EQ(result.interval.high, sorted[39]);
  EXPECT_TRUE(result.note.empty());
  EXPECT_EQ(result.interval.method, "percentile");
}

TEST(ClusterBootstrap, WarnsOfFewClusters) {
  const std::vector<double> x = normals(12, 6);
  const BootstrapResult result = cluster_bootstrap(
      Estimator([&](std::span<const double> w) { return weighted_mean(w, x); }), 12);
  EXPECT_NE(result.note.find("12 clusters"), std::string::npos) << result.note;
}

// BCa is invariant under monotone transformations, up to the interpolation between replicates.
TEST(ClusterBootstrap, BcaTransformsWithTheEstimate) {
  const std::vector<double> x = normals(50, 7);
  const Estimator plain = [&](std::span<const double> w) { return weighted_mean(w, x); };
  const Estimator raised = [&](std::span<const double> w) { return std::exp(weighted_mean(w, x)); };
  const BootstrapResult a = cluster_bootstrap(plain, x.size(), {.replicates = 4000});
  const BootstrapResult b = cluster_bootstrap(raised, x.size(), {.replicates = 4000});
  EXPECT_DOUBLE_EQ(a.bias_correction, b.bias_correction);
  EXPECT_NEAR(std::log(b.interval.low), a.interval.low, 0.01);
  EXPECT_NEAR(std::log(b.interval.high), a.interval.high, 0.01);
}

TEST(ClusterBootstrap, RefusesWhatCannotGiveAnInterval) {
  const Estimator constant = [](std::span<const double>) { return 1.0; };
  EXPECT_THROW(cluster_bootstrap(constant, 1), InvalidArgument);
  EXPECT_THROW(cluster_bootstrap(constant, 40, {.replicates = 39}), InvalidArgument);
  EXPECT_THROW(cluster_bootstrap(constant, 40, {.confidence = 1}), InvalidArgument);
  EXPECT_THROW(cluster_bootstrap(constant, 40, {.batch = 0}), InvalidArgument);
  EXPECT_THROW(cluster_bootstrap(constant, 40, {.method = BootstrapMethod::studentised}),
               InvalidArgument);
  const Estimator undefined = [](std::span<const double>) { return kNaN; };
  EXPECT_THROW(cluster_bootstrap(undefined, 40), NumericalError);
  const StudentisedEstimator flat = [](std::span<const double>) { return Estimate{1, 0}; };
  EXPECT_THROW(cluster_bootstrap(flat, 40, {.method = BootstrapMethod::studentised}),
               NumericalError);
  EXPECT_THROW(cluster_bootstrap(flat, 40, {.method = BootstrapMethod::bca}), InvalidArgument);
}

TEST(ClusterBootstrap, CountsUndefinedReplicatesOrRefusesThem) {
  const std::vector<double> x = normals(30, 8);
  // without cluster 0 there is no estimate: about 36 % of the replicates
  const Estimator estimator = [&](std::span<const double> w) {
    return w[0] == 0 ? kNaN : weighted_mean(w, x);
  };
  BootstrapOptions options{.method = BootstrapMethod::percentile, .replicates = 1000};
  EXPECT_NE(message_of<NumericalError>([&] {
              cluster_bootstrap(estimator, 30, options);
            }).find("of 1000 replicates are undefined"),
            std::string::npos);
  options.max_undefined = 0.5;
  const BootstrapResult result = cluster_bootstrap(estimator, 30, options);
  EXPECT_NEAR(static_cast<double>(result.undefined) / 1000, std::exp(-1.0), 0.08);
  EXPECT_EQ(result.replicates.size(), 1000 - result.undefined);
  options.method = BootstrapMethod::bca;  // needs the estimate without cluster 0
  EXPECT_THROW(cluster_bootstrap(estimator, 30, options), NumericalError);
}

TEST(RatioOfSums, IsTheRatioOfTheSumsAndNotTheMeanOfRatios) {
  const std::vector<double> top = {1, 2, 3, 4}, bottom = {1, 4, 1, 10};
  const BootstrapResult r =
      ratio_of_sums(top, bottom, groups_of(2, 2), {.method = BootstrapMethod::percentile});
  EXPECT_DOUBLE_EQ(r.interval.estimate, 10.0 / 16);
  // two clusters can only give the first twice, both, or the second twice
  for (const double v : r.replicates) {
    EXPECT_TRUE(v == 3.0 / 5 || v == 10.0 / 16 || v == 7.0 / 11) << v;
  }
}

TEST(RatioOfSums, StudentisedUsesTheDeltaMethod) {
  const std::vector<double> a = normals(60, 9);
  const std::vector<double> b = normals(60, 10);
  std::vector<double> top(60), bottom(60);
  for (std::size_t i = 0; i < 60; ++i) {
    bottom[i] = 5 + b[i];
    top[i] = 2 * bottom[i] + a[i];
  }
  const BootstrapResult r =
      ratio_of_sums(top, bottom, groups_of(60, 1), {.method = BootstrapMethod::studentised});
  const double ratio = std::accumulate(top.begin(), top.end(), 0.0) /
                       std::accumulate(bottom.begin(), bottom.end(), 0.0);
  double squares = 0;
  for (std::size_t i = 0; i < 60; ++i) squares += std::pow(top[i] - ratio * bottom[i], 2);
  const double error =
      std::sqrt(squares / 59 * 60) / std::accumulate(bottom.begin(), bottom.end(), 0.0);
  EXPECT_NEAR(r.interval.standard_error, error, 1e-12);
  EXPECT_NEAR(r.interval.high - r.interval.low, 2 * 2.0 * error, 0.4 * error);
  EXPECT_TRUE(r.interval.low < ratio && ratio < r.interval.high);
}

TEST(RatioOfSums, RefusesBadInput) {
  EXPECT_THROW(
      ratio_of_sums(std::vector<double>{1, 2}, std::vector<double>{1, -1}, groups_of(2, 1)),
      NumericalError);
  EXPECT_THROW(ratio_of_sums(std::vector<double>{1, 2}, std::vector<double>{1}, groups_of(2, 1)),
               InvalidArgument);
  EXPECT_THROW(
      ratio_of_sums(std::vector<double>{1, kNaN}, std::vector<double>{1, 1}, groups_of(2, 1)),
      NumericalError);
}

}  // namespace
}  // namespace tierod::stats

#include "tierod/stats/class_sums.h"

#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/energy_distance.h"
#include "tierod/stats/resampling.h"

namespace tierod::stats {
namespace {

at::Tensor matrix(const std::vector<double>& values, std::int64_t rows) {
  at::Tensor x = at::empty({rows, static_cast<std::int64_t>(values.size()) / rows}, at::kDouble);
  std::copy(values.begin(), values.end(), x.mutable_data_ptr<double>());
  return x;
}

struct Data {
  at::Tensor x;
  std::vector<std::uint8_t> y;
  std::vector<std::int64_t> g;
};

// 60 rows in 12 groups; groups 0-3 hold one class, the others both.
Data sample() {
  Data d{matrix(normals(60UL * 7, 1), 60), {}, {}};
  for (int i = 0; i < 60; ++i) {
    const int group = i % 12;
    d.g.push_back(100 - group);
    d.y.push_back(static_cast<std::uint8_t>(group < 4 ? group % 2 : i % 5 > 1));
  }
  return d;
}

/// Mean of ones minus mean of zeros over rows repeated by their cluster's weight.
at::Tensor naive(const Data& d, const std::vector<double>& weights) {
  const Clusters clusters(d.g);
  at::Tensor sum[2];
  double mass[2] = {0, 0};
  for (std::size_t i = 0; i < d.y.size(); ++i) {
    const double w = weights[clusters.of_row()[i]];
    const at::Tensor row = d.x[static_cast<std::int64_t>(i)].mul(w);
    sum[d.y[i]] = sum[d.y[i]].defined() ? sum[d.y[i]].add(row) : row;
    mass[d.y[i]] += w;
  }
  return sum[1].div(mass[1]).sub(sum[0].div(mass[0]));
}

TEST(ClassSums, BootstrapDirectionsAreRefitsOnRepeatedRows) {
  const Data d = sample();
  const ClassSums sums(d.x, d.y, d.g);
  const at::Tensor directions = sums.bootstrap(20, 3);
  std::vector<double> weights(12);
  for (std::int64_t r = 0; r < 20; ++r) {
    bootstrap_weights(3, static_cast<std::size_t>(r), weights);
    EXPECT_TRUE(at::allclose(directions[r], naive(d, weights), 1e-12, 1e-12)) << r;
  }
}

TEST(ClassSums, JackknifeDirectionsLeaveBlocksOut) {
  const Data d = sample();
  const ClassSums sums(d.x, d.y, d.g);
  const at::Tensor directions = sums.jackknife(4, 2);
  const std::vector<std::uint32_t> block = jackknife_blocks(12, 4, 2);
  for (std::uint32_t k = 0; k < 4; ++k) {
    std::vector<double> weights(12);
    for (std::size_t g = 0; g < 12; ++g) weights[g] = block[g] == k ? 0 : 1;
    EXPECT_TRUE(at::allclose(directions[k], naive(d, weights), 1e-12, 1e-12)) << k;
  }
}

TEST(ClassSums, ReplicatesDoNotDependOnHowTheyAreCutOrOnThreads) {
  const Data d = sample();
  const ClassSums sums(d.x.to(at::kFloat), d.y, d.g);
  const at::Tensor all = sums.bootstrap(700, 5);
  const at::Tensor parts =
      at::cat({sums.bootstrap(3, 5), sums.bootstrap(300, 5, 3), sums.bootstrap(397, 5, 303)});
  EXPECT_TRUE(all.equal(parts));
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(all.equal(sums.bootstrap(700, 5)));
  at::set_num_threads(threads);
}

TEST(ClassSums, MarksAResampleWithoutAClass) {
  const std::vector<std::uint8_t> y = {0, 0, 1, 1};
  const ClassSums sums(matrix({1, 2, 3, 4}, 4), y, groups_of(2, 2));
  const at::Tensor directions = sums.mean_differences(matrix({1, 1, 2, 0, 0, 2}, 3));
  EXPECT_DOUBLE_EQ(directions[0][0].item<double>(), 2);
  EXPECT_TRUE(std::isnan(directions[1][0].item<double>()));
  EXPECT_TRUE(std::isnan(directions[2][0].item<double>()));
  EXPECT_THROW(sums.jackknife(2), NumericalError);
}

TEST(ClassSums, RefusesBadInput) {
  const Data d = sample();
  at::Tensor bad = d.x.clone();
  bad[17][2].fill_(std::numeric_limits<double>::infinity());
  EXPECT_NE(message_of<NumericalError>([&] { ClassSums(bad, d.y, d.g); }).find("row 17"),
            std::string::npos);
  // finite rows whose sum overflows are not refused
  EXPECT_NO_THROW(
      ClassSums(at::ones({4, 2}, at::kDouble).mul(1e308), alternating(4), groups_of(2, 2)));
  EXPECT_THROW(ClassSums(d.x.to(at::kLong), d.y, d.g), InvalidArgument);
  EXPECT_THROW(ClassSums(d.x.flatten(), d.y, d.g), InvalidArgument);
  EXPECT_THROW(ClassSums(at::Tensor(), d.y, d.g), InvalidArgument);
  EXPECT_THROW(ClassSums(d.x, std::vector<std::uint8_t>(60, 1), d.g), InvalidArgument);
  EXPECT_THROW(ClassSums(d.x, d.y, std::vector<std::int64_t>(60, 1)), InvalidArgument);
  EXPECT_THROW(ClassSums(d.x, std::span(d.y).first(59), d.g), InvalidArgument);
  const ClassSums sums(d.x, d.y, d.g);
  EXPECT_THROW(sums.mean_differences(at::ones({2, 11})), InvalidArgument);
  EXPECT_THROW(sums.bootstrap(0), InvalidArgument);
}

double naive_energy(const at::Tensor& x, const std::vector<std::uint8_t>& y) {
  double sum[3] = {0, 0, 0}, count[3] = {0, 0, 0};
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t j = 0; j < x.size(0); ++j) {
      const int kind = y[static_cast<std::size_t>(i)] + y[static_cast<std::size_t>(j)];
      sum[kind] += x[i].sub(x[j]).norm().item<double>();
      count[kind] += 1;
    }
  }
  return 2 * sum[1] / count[1] - sum[0] / count[0] - sum[2] / count[2];
}

TEST(EnergyDistance, AgreesWithEveryPair) {
  const Data d = sample();
  EXPECT_NEAR(energy_distance(d.x, d.y), naive_energy(d.x, d.y), 1e-12);
  // far from the origin: squared norms would cancel
  EXPECT_NEAR(energy_distance(d.x.add(1e8), d.y), naive_energy(d.x, d.y), 1e-6);
}

TEST(EnergyDistance, TestFindsAShiftAndKeepsScenesTogether) {
  const std::vector<double> z = normals(40UL * 2, 9);
  const at::Tensor x = matrix(z, 40);
  std::vector<std::uint8_t> y(40);
  for (std::size_t i = 0; i < 40; ++i) y[i] = static_cast<std::uint8_t>(i / 4 % 2);
  const at::Tensor shift = at::empty({40, 1}, at::kDouble);
  for (std::int64_t i = 0; i < 40; ++i) shift[i].fill_(2.0 * y[static_cast<std::size_t>(i)]);
  const std::vector<std::int64_t> g = groups_of(10, 4);
  const PermutationResult moved =
      energy_distance_test(x.add(shift), y, g, {}, {.permutations = 499});
  EXPECT_LT(moved.p, 0.02);
  EXPECT_NEAR(moved.statistic, energy_distance(x.add(shift), y), 1e-13);
  const PermutationResult still = energy_distance_test(x, y, g, {}, {.permutations = 499});
  EXPECT_GT(still.p, 0.05);
  EXPECT_NEAR(still.smallest_p, 1.0 / 252, 1e-9);  // 10 choose 5
  // labels within each scene: rows are groups, scenes strata, and constant labels cannot move
  EXPECT_THROW(energy_distance_test(x, y, groups_of(40, 1), g), InvalidArgument);
  const PermutationResult within =
      energy_distance_test(x, alternating(40), groups_of(40, 1), g, {.permutations = 99});
  EXPECT_NEAR(within.log10_arrangements, 10 * std::log10(6.0), 1e-9);
  EXPECT_THROW(energy_distance_test(x, y, g, {}, {.alternative = Alternative::two_sided}),
               InvalidArgument);
}

}  // namespace
}  // namespace tierod::stats

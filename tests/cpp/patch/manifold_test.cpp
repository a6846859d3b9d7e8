#include "tierod/patch/manifold.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/quantile.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {
namespace {

using Groups = std::vector<std::int64_t>;

at::Tensor normals(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  const CounterRandom random(seed, "test");
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  auto* x = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      *x++ = random.normal(static_cast<std::uint64_t>(i), 0, static_cast<std::uint32_t>(j));
    }
  }
  return out;
}

Groups each(std::int64_t n) {
  Groups out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

double average(const at::Tensor& x) { return x.to(at::kDouble).mean().item<double>(); }

TEST(Manifold, HoldsNewRowsOfTheSameDistributionForNatural) {
  constexpr std::int64_t d = 32;
  const at::Tensor mixing = normals(d, d, 1) / 6 + at::arange(d, at::kDouble).diag() / 16;
  const at::Tensor x = at::matmul(normals(2000, d, 2), mixing) + 0.5;
  const Manifold manifold = Manifold::fit(x, each(2000));
  EXPECT_EQ(manifold.fitted_rows(), 1000);
  EXPECT_EQ(manifold.natural_rows(), 1000);
  const ManifoldCheck found = manifold.check(at::matmul(normals(4000, d, 3), mixing) + 0.5);
  for (const at::Tensor& p : {found.norm, found.mahalanobis, found.neighbour}) {
    // uniform: mean 1/2, standard deviation 1/sqrt(12)
    EXPECT_NEAR(average(p), 0.5, 0.04);
    EXPECT_NEAR(p.std().item<double>(), 1 / std::sqrt(12.0), 0.02);
  }
  EXPECT_NEAR(found.norm_share, 0.02, 0.012);
  EXPECT_NEAR(found.mahalanobis_share, 0.01, 0.01);
  EXPECT_NEAR(found.neighbour_share, 0.01, 0.01);
  EXPECT_NEAR(found.off_share, manifold.natural_off_share(), 0.015);
  EXPECT_LT(found.off_share, 0.04);
  EXPECT_EQ(found.off.scalar_type(), at::kBool);
  RecordProperty("off_share", std::to_string(found.off_share));
}

// What the split is for: distances of the rows that mean and covariance were fitted to are small.
TEST(Manifold, IsNotFooledByTheRowsItWasFittedTo) {
  constexpr std::int64_t d = 32;
  constexpr std::int64_t n = 16 * d;
  const at::Tensor x = normals(n, d, 4);
  const at::Tensor fresh = normals(4000, d, 5);
  const at::Tensor centre = x.mean(0);
  const at::Tensor inverse = at::linalg_inv(at::matmul((x - centre).t(), x - centre) / (n - 1));
  const auto distance = [&](const at::Tensor& rows) {
    return at::matmul(rows - centre, inverse).mul(rows - centre).sum(1).sqrt();
  };
  const double in_sample = average(distance(fresh).gt(at::quantile(distance(x), 0.99)));
  const double held_out = Manifold::fit(x, each(n)).check(fresh).mahalanobis_share;
  EXPECT_GT(in_sample, 0.025);
  EXPECT_LT(held_out, 0.02);
  RecordProperty("in_sample", std::to_string(in_sample));
  RecordProperty("held_out", std::to_string(held_out));
}

TEST(Manifold, SeesWhatAnEditMoved) {
  constexpr std::int64_t d = 8;
  const at::Tensor x = normals(1000, d, 6) * at::tensor({9., 3., 1., 1., 1., 1., 1., .1});
  const Manifold manifold = Manifold::fit(x, each(1000), {.shrinkage = 0});
  const at::Tensor fresh = normals(500, d, 7) * at::tensor({9., 3., 1., 1., 1., 1., 1., .1});
  // one standard deviation of the widest axis is nothing there, and far along the narrowest
  at::Tensor wide = fresh.clone();
  wide.select(1, 0).mul_(-1);
  EXPECT_LT(manifold.check(wide).off_share, 0.08);
  at::Tensor narrow = fresh.clone();
  narrow.select(1, 7).add_(1);
  const ManifoldCheck found = manifold.check(narrow);
  EXPECT_GT(found.mahalanobis_share, 0.95);
  EXPECT_GT(found.neighbour_share, 0.95);
  EXPECT_LT(found.norm_share, 0.06);
  EXPECT_GT(manifold.check(fresh * 4).norm_share, 0.5);
  EXPECT_GT(manifold.check(fresh * 0).norm_share, 0.99);
}

TEST(Manifold, SeesAHole) {
  const at::Tensor angle = normals(1200, 1, 8).select(1, 0) * 20;
  const at::Tensor ring = at::stack({angle.cos() * 3, angle.sin() * 3}, 1);
  const Manifold manifold = Manifold::fit(ring + normals(1200, 2, 9) * 0.1 + 10, each(1200));
  const ManifoldCheck found = manifold.check(at::full({1, 2}, 10., at::kDouble));
  EXPECT_EQ(found.norm_share, 0);
  EXPECT_EQ(found.mahalanobis_share, 0);
  EXPECT_EQ(found.neighbour_share, 1);
  EXPECT_TRUE(found.off[0].item<bool>());
}

TEST(Manifold, TakesRowsOfOneLength) {
  const auto on_sphere = [](std::uint64_t seed) {
    const at::Tensor x = normals(600, 8, seed);
    return (x / at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true)).to(at::kFloat);
  };
  const Manifold manifold = Manifold::fit(on_sphere(10), each(600));
  const ManifoldCheck found = manifold.check(on_sphere(11));
  EXPECT_EQ(found.norm_share, 0);
  EXPECT_TRUE(found.norm.eq(0.5).all().item<bool>());
  EXPECT_EQ(manifold.check(on_sphere(11) * 1.01).norm_share, 1);
}

TEST(Manifold, KeepsGroupsWhole) {
  Groups groups;
  for (std::int64_t i = 0; i < 600; ++i) groups.push_back(i < 300 ? 4 : i < 500 ? 9 : 2);
  const Manifold manifold = Manifold::fit(normals(600, 4, 12), groups);
  EXPECT_EQ(manifold.fitted_rows(), 300);
  EXPECT_EQ(manifold.natural_rows(), 300);
}

// Either half may be the fitted one, so that one of two naive computations must be met.
TEST(Manifold, HasTheLimitsOfItsNaturalHalf) {
  constexpr std::int64_t d = 3;
  const at::Tensor x = normals(400, d, 13) * at::tensor({3., 1., .5}) + 1;
  Groups groups(400, 0);
  std::fill(groups.begin() + 200, groups.end(), 1);
  const auto naive = [&](std::int64_t fitted_at) {
    const at::Tensor fitted = x.narrow(0, fitted_at, 200);
    const at::Tensor natural = x.narrow(0, 200 - fitted_at, 200);
    const at::Tensor centred = fitted - fitted.mean(0);
    const at::Tensor s = at::matmul(centred.t(), centred) / 199;
    const at::Tensor shrunk = s * 0.9 + s.trace() / 3 * 0.1 * at::full({d}, 1., at::kDouble).diag();
    const at::Tensor inverse = at::linalg_inv(shrunk);
    const auto length = [&](const at::Tensor& v) {
      return std::sqrt(at::matmul(v, at::matmul(inverse, v)).item<double>());
    };
    std::vector<double> distances;
    std::vector<double> neighbours;
    for (std::int64_t i = 0; i < 200; ++i) {
      distances.push_back(length(natural[i] - fitted.mean(0)));
      std::vector<double> apart;
      for (std::int64_t j = 0; j < 200; ++j) apart.push_back(length(natural[i] - fitted[j]));
      std::nth_element(apart.begin(), apart.begin() + 4, apart.end());
      neighbours.push_back(apart[4]);
    }
    const auto high = [](const std::vector<double>& v) {
      return at::quantile(at::tensor(v), 0.98).item<double>();
    };
    const at::Tensor norms = natural.norm(2, 1);
    return std::vector<double>{at::quantile(norms, 0.02).item<double>(),
                               at::quantile(norms, 0.98).item<double>(), high(distances),
                               high(neighbours)};
  };
  const Manifold manifold =
      Manifold::fit(x, groups, {.low = .02, .high = .98, .shrinkage = 0.1, .neighbours = 5});
  const NaturalLimits& l = manifold.limits();
  const std::vector<double> got = {l.norm_low, l.norm_high, l.mahalanobis_high, l.neighbour_high};
  const std::vector<double> first = naive(0);
  const std::vector<double> second = naive(200);
  const std::vector<double>& want =
      std::abs(got[2] - first[2]) < std::abs(got[2] - second[2]) ? first : second;
  for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(got[k], want[k], 1e-9) << k;
}

TEST(Manifold, SaysHowManyRowsItNeeds) {
  const auto fit = [](std::int64_t n, std::int64_t d, const ManifoldOptions& options) {
    return message_of<InvalidArgument>([&] { Manifold::fit(normals(n, d, 14), each(n), options); });
  };
  EXPECT_NE(fit(511, 32, {}).find("at least 512 rows (16 for each of 32 dimensions"),
            std::string::npos);
  EXPECT_NE(fit(511, 32, {}).find("got 511"), std::string::npos);
  EXPECT_EQ(fit(512, 32, {}), "");
  EXPECT_NE(fit(199, 2, {}).find("at least 200 rows"), std::string::npos);
  EXPECT_EQ(fit(200, 2, {}), "");
  EXPECT_EQ(fit(40, 2, {.low = .05, .high = .95}), "");
  EXPECT_EQ(fit(320, 32, {.rows_per_dimension = 4}), "");
}

TEST(Manifold, Refuses) {
  const at::Tensor x = normals(300, 4, 15);
  EXPECT_THROW(Manifold::fit(x, each(299)), InvalidArgument);
  EXPECT_THROW(Manifold::fit(x, Groups(300, 1)), InvalidArgument);
  EXPECT_THROW(Manifold::fit(x[0], each(4)), InvalidArgument);
  for (const ManifoldOptions& bad :
       {ManifoldOptions{.low = .5, .high = .4}, ManifoldOptions{.high = 1.5},
        ManifoldOptions{.shrinkage = 2}, ManifoldOptions{.neighbours = 0},
        ManifoldOptions{.neighbours = 151}, ManifoldOptions{.rows_per_dimension = 0}}) {
    EXPECT_THROW(Manifold::fit(x, each(300), bad), InvalidArgument);
  }
  Groups uneven(300, 1);
  for (std::size_t i = 0; i < 50; ++i) uneven[i] = 100 + static_cast<std::int64_t>(i);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              Manifold::fit(x, uneven);
            }).find("one with 250 of 300 rows"),
            std::string::npos);
  at::Tensor holed = x.clone();
  holed[17][2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(message_of<NumericalError>([&] { Manifold::fit(holed, each(300)); }).find("row 17"),
            std::string::npos);
  EXPECT_THROW(Manifold::fit(at::zeros({300, 4}, at::kDouble), each(300)), NumericalError);
  const Manifold manifold = Manifold::fit(x, each(300));
  EXPECT_THROW(manifold.check(normals(3, 5, 1)), InvalidArgument);
  EXPECT_THROW(manifold.check(holed), NumericalError);
  EXPECT_EQ(manifold.check(x.narrow(0, 0, 0)).off.size(0), 0);
}

vla::Rollout drive(const std::vector<double>& acceleration, const std::vector<double>& curvature,
                   double speed) {
  vla::Rollout out{.dt_s = 0.25};
  out.actions = at::stack({at::tensor(acceleration), at::tensor(curvature)}, 1).unsqueeze(0);
  out.initial_speed = at::full({1}, speed, at::kDouble);
  return out;
}

bool off_road(const std::vector<double>& acceleration, const std::vector<double>& curvature,
              double speed, const Plausible& limits = {}) {
  return implausible(drive(acceleration, curvature, speed), limits)[0].item<bool>();
}

TEST(Implausible, KnowsWhatACarCanDo) {
  EXPECT_FALSE(off_road({-8, -8, -8}, {0, 0, 0}, 20));
  EXPECT_TRUE(off_road({0, -8.1, -8}, {0, 0, 0}, 20));
  EXPECT_TRUE(off_road({0, 8.1}, {0, 0}, 20));
  // 2 to -8 in .25 s is just 40 m/s^3
  EXPECT_FALSE(off_road({2, -8, -8}, {0, 0, 0}, 20));
  EXPECT_TRUE(off_road({2.1, -8, -8}, {0, 0, 0}, 20));
  EXPECT_FALSE(off_road({0, 0}, {0.2, -0.2}, 3));
  EXPECT_TRUE(off_road({0, 0}, {0.2, -0.21}, 3));
  // 10 m/s on a radius of 12.5 m is 8 m/s^2
  EXPECT_FALSE(off_road({0}, {0.08}, 10));
  EXPECT_TRUE(off_road({0}, {-0.081}, 10));
  // it gets faster within the last step: 11 m/s
  EXPECT_TRUE(off_road({4}, {0.08}, 10));
  EXPECT_TRUE(off_road({-4}, {0.081}, 10));
  EXPECT_FALSE(off_road({-4, -4}, {0, 0.081}, 10));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(off_road({0, nan}, {0, 0}, 10));
  EXPECT_TRUE(off_road({0, 0}, {nan, 0}, 10));
}

TEST(Implausible, TakesOtherLimitsAndManyRows) {
  EXPECT_TRUE(off_road({-5, -5}, {0, 0}, 20, {.max_acceleration = 4.05}));
  EXPECT_TRUE(off_road({-2, -3.1}, {0, 0}, 20, {.max_jerk = 4.13}));
  vla::Rollout rows = drive({0, 0}, {0, 0}, 10);
  const vla::Rollout bad = drive({0, 9}, {0, 0}, 10);
  rows.actions = at::cat({rows.actions, bad.actions, rows.actions}).to(at::kFloat);
  rows.initial_speed = at::full({3}, 10.f);
  const at::Tensor found = implausible(rows);
  EXPECT_EQ(found.scalar_type(), at::kBool);
  EXPECT_TRUE(found.equal(at::tensor({0, 1, 0}).to(at::kBool)));
}

TEST(Implausible, Refuses) {
  EXPECT_THROW(off_road({0}, {0}, 1, {.max_jerk = 0}), InvalidArgument);
  EXPECT_THROW(implausible({}), InvalidArgument);
  vla::Rollout rollout = drive({0}, {0}, 1);
  rollout.dt_s = 0;
  EXPECT_THROW(implausible(rollout), InvalidArgument);
  rollout = drive({0}, {0}, 1);
  rollout.initial_speed = at::zeros({2});
  EXPECT_THROW(implausible(rollout), InvalidArgument);
}

TEST(OffManifold, FlagsWhatOnlyEditsBeyondShow) {
  std::vector<double> values;
  std::vector<std::uint8_t> off;
  for (int i = 0; i < 40; ++i) {
    const double noise = i % 2 == 0 ? 0.1 : -0.1;
    off.push_back(i % 4 < 2 ? 1 : 0);
    values.push_back(noise + (off.back() != 0 ? -2 : 0));
  }
  const OffManifold only_off = off_manifold_effect(values, off, each(40));
  EXPECT_TRUE(only_off.all.excludes(0));
  EXPECT_NEAR(only_off.all.estimate, -1, 1e-12);
  ASSERT_TRUE(only_off.on_manifold);
  EXPECT_NEAR(only_off.on_manifold->estimate, 0, 1e-12);
  EXPECT_EQ(only_off.on_manifold->clusters, 20U);
  EXPECT_DOUBLE_EQ(only_off.off_share, 0.5);
  EXPECT_TRUE(only_off.flagged);

  // the same on both, another sign, nothing anywhere
  const auto with = [&](double on, double beyond) {
    std::vector<double> other;
    for (int i = 0; i < 40; ++i) {
      other.push_back((i % 2 == 0 ? 0.1 : -0.1) +
                      (off[static_cast<std::size_t>(i)] != 0 ? beyond : on));
    }
    return off_manifold_effect(other, off, each(40));
  };
  EXPECT_FALSE(with(-1, -1).flagged);
  EXPECT_TRUE(with(0.5, -2).flagged);
  EXPECT_FALSE(with(0, 0).flagged);
}

TEST(OffManifold, FlagsWhereTooFewRemain) {
  const std::vector<double> values = {1.1, 1, 0.9, 1.05, 1};
  const OffManifold found =
      off_manifold_effect(values, std::vector<std::uint8_t>{1, 1, 1, 1, 0}, each(5));
  EXPECT_FALSE(found.on_manifold);
  EXPECT_TRUE(found.flagged);
  const OffManifold none = off_manifold_effect(values, std::vector<std::uint8_t>(5, 1), each(5));
  EXPECT_FALSE(none.on_manifold);
  EXPECT_DOUBLE_EQ(none.off_share, 1);
}

TEST(OffManifold, Refuses) {
  const std::vector<double> values = {1, 2, 3};
  const std::vector<std::uint8_t> off = {0, 1, 0};
  EXPECT_THROW(off_manifold_effect(values, std::vector<std::uint8_t>{0, 1}, each(3)),
               InvalidArgument);
  EXPECT_THROW(off_manifold_effect(values, std::vector<std::uint8_t>{0, 2, 0}, each(3)),
               InvalidArgument);
  EXPECT_THROW(off_manifold_effect(values, off, Groups(3, 1)), InvalidArgument);
  EXPECT_THROW(off_manifold_effect(values, off, each(2)), InvalidArgument);
  const std::vector<double> bad = {1, std::numeric_limits<double>::infinity(), 3};
  EXPECT_THROW(off_manifold_effect(bad, off, each(3)), NumericalError);
}

}  // namespace
}  // namespace tierod::patch

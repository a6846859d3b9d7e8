#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "probe/sample.h"
#include "probe/syrk_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/cross_validation.h"
#include "tierod/probe/fold_statistics.h"
#include "tierod/probe/linear_probe.h"

namespace tierod::probe {
namespace {

at::Tensor rows_where(const at::Tensor& x, const std::vector<std::int64_t>& rows) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), index.mutable_data_ptr<std::int64_t>());
  return x.index_select(0, index);
}

/// Statistics of one concept from its known rows alone.
TrainingStatistics alone(const World& w, std::size_t c, std::uint32_t held_out) {
  std::vector<std::int64_t> rows;
  std::vector<std::uint8_t> labels;
  std::vector<std::uint32_t> folds;
  for (std::size_t i = 0; i < w.folds.size(); ++i) {
    if (w.labels[2 * i + c] == 255) continue;
    rows.push_back(static_cast<std::int64_t>(i));
    labels.push_back(w.labels[2 * i + c]);
    folds.push_back(w.folds[i]);
  }
  FoldStatistics s(1, 3);
  s.update(rows_where(w.x, rows), labels, folds);
  return s.training(held_out);
}

void expect_same(const TrainingStatistics& got, const TrainingStatistics& want, std::int64_t c) {
  EXPECT_EQ(got.rows, want.rows);
  EXPECT_TRUE(at::allclose(got.mean, want.mean, 1e-12));
  EXPECT_TRUE(at::allclose(got.scatter, want.scatter, 1e-9, 1e-8));
  EXPECT_EQ(got.ones[c].item<double>(), want.ones[0].item<double>());
  EXPECT_TRUE(at::allclose(got.means.select(1, c), want.means.select(1, 0), 1e-10));
}

/// Concept 0 misses a few rows, concept 1 most of some and a few of others, each in its own place.
World with_gaps() {
  World w = world(240, 7);
  for (std::size_t i = 0; i < 240; ++i) {
    if (i % 7 == 3) w.labels[2 * i] = 255;
    if (i >= 120 ? i % 9 == 0 : i % 4 != 0) w.labels[2 * i + 1] = 255;
  }
  return w;
}

void update(FoldStatistics& s, const World& w, std::size_t begin, std::size_t n) {
  s.update(w.x.narrow(0, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(n)),
           std::span(w.labels).subspan(2 * begin, 2 * n), std::span(w.folds).subspan(begin, n));
}

TEST(RowSets, AreTheStatisticsOfTheKnownRows) {
  const World w = with_gaps();
  FoldStatistics s(2, 3);
  update(s, w, 0, 100);
  update(s, w, 100, 1);
  update(s, w, 101, 139);
  EXPECT_THROW(s.training(0), InvalidArgument);
  for (const std::uint32_t held_out : {0U, 1U, 2U}) {
    const auto sets = s.training_sets(held_out);
    ASSERT_EQ(sets.size(), 2U);
    for (const TrainingStatistics& set : sets) {
      ASSERT_EQ(set.which.size(), 1U);
      expect_same(set, alone(w, static_cast<std::size_t>(set.which[0]), held_out), 0);
    }
  }
  EXPECT_EQ(s.known(0, 0) + s.known(1, 0) + s.known(2, 0), 206);
}

TEST(RowSets, AreSharedByConceptsThatMissTheSameRows) {
  World w = world(240, 7);
  for (std::size_t i = 0; i < 240; i += 3) w.labels[2 * i] = w.labels[2 * i + 1] = 255;
  FoldStatistics s(2, 3);
  update(s, w, 0, 200);
  update(s, w, 200, 40);
  const TrainingStatistics both = s.training(2);  // one set
  for (const std::int64_t c : {0, 1}) {
    expect_same({.rows = both.rows,
                 .mean = both.mean,
                 .scatter = both.scatter,
                 .ones = both.ones.narrow(0, c, 1),
                 .means = both.means.narrow(1, c, 1)},
                alone(w, static_cast<std::size_t>(c), 2), 0);
  }
}

TEST(RowSets, MergeLikeOnePass) {
  const World w = with_gaps();
  FoldStatistics a(2, 3), b(2, 3), all(2, 3);
  update(a, w, 0, 130);
  update(b, w, 130, 110);
  update(all, w, 0, 240);
  const FoldStatistics copy = a;
  a.merge(b);
  const auto got = a.training_sets(1), want = all.training_sets(1);
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].which, want[i].which);
    EXPECT_TRUE(at::allclose(got[i].scatter, want[i].scatter, 1e-9, 1e-8));
    EXPECT_TRUE(at::allclose(got[i].means, want[i].means, 1e-10));
  }
  EXPECT_EQ(copy.rows(0) + copy.rows(1) + copy.rows(2), 130);  // a copy does not change
  FoldStatistics empty(2, 3);
  empty.merge(all);
  EXPECT_TRUE(at::allclose(empty.training_sets(1)[0].scatter, want[0].scatter));
}

TEST(RowSets, ProbesAreThoseOfTheKnownRows) {
  const World w = with_gaps();
  FoldStatistics s(2, 3);
  update(s, w, 0, 240);
  const LinearFits got = fit(RidgeFitter({2.0, 5.0}), s, 1);
  for (const std::int64_t c : {0, 1}) {
    const LinearFits want = RidgeFitter({2.0, 5.0}).fit(alone(w, static_cast<std::size_t>(c), 1));
    EXPECT_TRUE(at::allclose(got.weights.select(1, c), want.weights.select(1, 0), 1e-9, 1e-11));
    EXPECT_TRUE(at::allclose(got.intercepts.select(1, c), want.intercepts.select(1, 0), 1e-8));
    EXPECT_EQ(got.report(1, c).rows, want.report(1, 0).rows);
  }
}

TEST(Precision, ProductsOfSingleRowsKeepSevenDigitsWhateverTheMean) {
  at::Tensor x = normals(3000, 40, 5).matmul(normals(40, 40, 6));
  x.select(1, 3).mul_(1e4);
  x.add_(300);  // forty times the standard deviation
  const at::Tensor single = x.to(at::kFloat);
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < 3000; ++i) labels.push_back(static_cast<std::uint8_t>(i % 2));
  const std::vector<std::uint32_t> folds(3000, 0);
  FoldStatistics f32(1, 1), f64(1, 1, Targets::labels, Precision::f64);
  f32.update(single, labels, folds);
  f64.update(single, labels, folds);
  const TrainingStatistics a = f32.training(), b = f64.training();
  const at::Tensor scale = b.scatter.diagonal().sqrt();
  const double worst =
      a.scatter.sub(b.scatter).div(at::outer(scale, scale)).abs().max().item<double>();
  EXPECT_LT(worst, 5e-7);
  EXPECT_LT(worst, a.rounding);
  EXPECT_GT(worst, 0);
  EXPECT_LT(b.rounding, 1e-12);
  const at::Tensor sd = scale.div(std::sqrt(3000.0));
  EXPECT_LT(a.means.sub(b.means).div(sd).abs().max().item<double>(), 1e-6);
  // half rows are exact in f32: the same sums
  const at::Tensor half = single.to(at::kBFloat16);
  FoldStatistics narrow(1, 1), wide(1, 1);
  narrow.update(half, labels, folds);
  wide.update(half.to(at::kDouble), labels, folds);
  const TrainingStatistics n = narrow.training(), w = wide.training();
  EXPECT_LT(n.mean.sub(w.mean).div(sd).abs().max().item<double>(), 1e-6);
  EXPECT_LT(n.scatter.sub(w.scatter).div(at::outer(scale, scale)).abs().max().item<double>(),
            n.rounding);
}

TEST(Precision, SymmetricProductsAreTheProductOfAnyShape) {
  for (int kernel = 0; kernel < tierod::internal::syrk_kernels(); ++kernel) {
    for (const auto& [n, d] : {std::pair<std::int64_t, std::int64_t>{1, 1},
                               {5, 7},
                               {300, 16},
                               {256, 17},
                               {513, 50},
                               {1024, 96}}) {
      const at::Tensor x = normals(n, d, 9).to(at::kFloat).contiguous();
      at::Tensor gram = at::ones({d, d}, at::kDouble);
      tierod::internal::add_syrk(x.const_data_ptr<float>(), n, d, -1,
                                 gram.mutable_data_ptr<double>(), kernel);
      const at::Tensor want = x.to(at::kDouble).t().matmul(x.to(at::kDouble)).neg().add(1);
      EXPECT_TRUE(at::allclose(gram.tril(), want.tril(), 1e-5, 2e-4)) << n << ' ' << d;
      EXPECT_TRUE(gram.triu(1).equal(at::ones({d, d}, at::kDouble).triu(1))) << n << ' ' << d;
    }
  }
}

TEST(RealTargets, RidgeSolvesTheNormalEquations) {
  const World w = world(120, 7);
  // far from 0, as positions on a map are; a few are missing
  at::Tensor y = at::stack({w.x.select(1, 0).add(normals(120, 1, 8).flatten()).add(5e4),
                            w.x.select(1, 2).mul(-3).add(normals(120, 1, 9).flatten())},
                           1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::int64_t i : {4, 50, 51}) y[i][1].fill_(nan);
  FoldStatistics s(2, 3, Targets::reals), rest(2, 3, Targets::reals);
  s.update(w.x.narrow(0, 0, 70), y.narrow(0, 0, 70), std::span(w.folds).first(70));
  rest.update(w.x.narrow(0, 70, 50), y.narrow(0, 70, 50), std::span(w.folds).subspan(70));
  s.merge(rest);
  const LinearFits fits = fit(RidgeFitter({3.0}), s, 2);
  for (const std::int64_t t : {0, 1}) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < 120; ++i) {
      if (w.folds[static_cast<std::size_t>(i)] != 2 && !std::isnan(y[i][t].item<double>())) {
        rows.push_back(i);
      }
    }
    const at::Tensor x = rows_where(w.x, rows), target = rows_where(y.select(1, t), rows);
    const at::Tensor design = at::cat({x, at::ones({x.size(0), 1}, at::kDouble)}, 1);
    at::Tensor a = design.t().matmul(design);
    a.diagonal().narrow(0, 0, 7).add_(3.0);
    const at::Tensor want = at::linalg_solve(a, design.t().matmul(target));
    EXPECT_TRUE(at::allclose(fits.weights[0][t], want.narrow(0, 0, 7), 1e-7, 1e-8));
    EXPECT_NEAR(fits.intercepts[0][t].item<double>(), want[7].item<double>(), 1e-5);
    EXPECT_EQ(fits.report(0, t).rows, static_cast<std::int64_t>(rows.size()));
  }
  EXPECT_THROW(fit(LdaFitter({0.1}), s), InvalidArgument);
  EXPECT_THROW(fit(MeanDifferenceFitter(), s), InvalidArgument);
}

TEST(RealTargets, RefuseWhatTheyAreNot) {
  const World w = world();
  FoldStatistics reals(2, 3, Targets::reals), labels(2, 3);
  EXPECT_THROW(reals.update(w.x, w.labels, w.folds), InvalidArgument);
  EXPECT_THROW(labels.update(w.x, normals(120, 2, 1), w.folds), InvalidArgument);
  EXPECT_THROW(reals.merge(labels), InvalidArgument);
  at::Tensor infinite = normals(120, 2, 1);
  infinite[5][1].fill_(std::numeric_limits<double>::infinity());
  EXPECT_NE(message_of<NumericalError>([&] {
              reals.update(w.x, infinite, w.folds);
            }).find("row 5, target 1"),
            std::string::npos);
}

TEST(SinglePrecision, RidgeRefusesWhatF32CannotTellApart) {
  World w = world(400, 7);
  // a column twice, but for a part in a hundred thousand: f64 products see it, f32 ones do not
  const at::Tensor twin = w.x.narrow(1, 0, 1).add(normals(400, 1, 4), 1e-5);
  w.x = at::cat({w.x, twin}, 1);
  const auto fitted = [&](const at::Tensor& rows, Precision precision) {
    FoldStatistics s(2, 3, Targets::labels, precision);
    s.update(rows, w.labels, w.folds);
    return fit(RidgeFitter({1e-9}), s);
  };
  EXPECT_NO_THROW(fitted(w.x, Precision::automatic));
  EXPECT_NE(message_of<NumericalError>([&] { fitted(w.x, Precision::f32); }).find("Precision::f64"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::probe

#include "tierod/probe/linear_probe.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "probe/sample.h"
#include "tierod/core/error.h"

namespace tierod::probe {
namespace {

FoldStatistics statistics(const World& w) {
  FoldStatistics s(2, 3);
  s.update(w.x, w.labels, w.folds);
  return s;
}

/// The rows, labels and folds that are not in `fold`.
at::Tensor rows_without(const World& w, std::uint32_t fold) {
  at::Tensor index = at::empty({w.x.size(0)}, at::kLong);
  std::int64_t n = 0;
  for (std::size_t i = 0; i < w.folds.size(); ++i) {
    if (w.folds[i] != fold) index[n++].fill_(static_cast<std::int64_t>(i));
  }
  return index.narrow(0, 0, n);
}

TEST(FoldStatistics, TrainingIsTheRestOfTheRows) {
  const World w = world();
  const FoldStatistics all = statistics(w);
  for (const std::uint32_t fold : {0U, 1U, 2U}) {
    const at::Tensor index = rows_without(w, fold);
    const at::Tensor x = w.x.index_select(0, index);
    const TrainingStatistics t = all.training(fold);
    ASSERT_EQ(t.rows, x.size(0));
    const at::Tensor centred = x.sub(x.mean(0));
    EXPECT_TRUE(at::allclose(t.mean, x.mean(0), 1e-12));
    EXPECT_TRUE(at::allclose(t.scatter, centred.t().matmul(centred), 1e-10, 1e-9));
    for (std::int64_t c = 0; c < 2; ++c) {
      const at::Tensor y = w.concept_of(static_cast<std::size_t>(c)).index_select(0, index);
      EXPECT_EQ(t.ones[c].item<double>(), y.sum().item<double>());
      for (std::int64_t k = 0; k < 2; ++k) {
        const at::Tensor of = y.eq(static_cast<double>(k)).nonzero().flatten();
        EXPECT_TRUE(at::allclose(t.means[k][c], x.index_select(0, of).mean(0), 1e-11));
      }
    }
  }
}

TEST(FoldStatistics, DoesNotDependOnHowRowsAreCut) {
  const World w = world();
  FoldStatistics parts(2, 3), other(2, 3);
  const auto part = [&](FoldStatistics& s, std::int64_t begin, std::int64_t n) {
    const auto b = static_cast<std::size_t>(begin), m = static_cast<std::size_t>(n);
    s.update(w.x.narrow(0, begin, n), std::span(w.labels).subspan(2 * b, 2 * m),
             std::span(w.folds).subspan(b, m));
  };
  part(parts, 0, 50);
  part(parts, 50, 1);
  part(other, 51, 69);
  parts.merge(other);
  const TrainingStatistics a = statistics(w).training(1), b = parts.training(1);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_TRUE(at::allclose(a.scatter, b.scatter, 1e-10, 1e-9));
  EXPECT_TRUE(at::allclose(a.means, b.means, 1e-12));
  EXPECT_EQ(parts.rows(2), statistics(w).rows(2));
}

TEST(FoldStatistics, RefusesBadInput) {
  const World w = world();
  FoldStatistics s(2, 3);
  EXPECT_THROW(s.training(), StateError);
  EXPECT_THROW(s.training(3), OutOfRange);
  EXPECT_THROW(s.rows(3), OutOfRange);
  EXPECT_THROW(FoldStatistics(0, 3), InvalidArgument);
  at::Tensor bad = w.x.clone();
  bad[11][2].fill_(std::nan(""));
  EXPECT_NE(message_of<NumericalError>([&] { s.update(bad, w.labels, w.folds); }).find("row 11"),
            std::string::npos);
  std::vector<std::uint8_t> missing = w.labels;
  missing[7] = 2;
  EXPECT_NE(message_of<InvalidArgument>([&] {
              s.update(w.x, missing, w.folds);
            }).find("row 3, concept 1"),
            std::string::npos);
  std::vector<std::uint32_t> folds = w.folds;
  folds[5] = 3;
  EXPECT_THROW(s.update(w.x, w.labels, folds), InvalidArgument);
  EXPECT_THROW(s.update(w.x, std::span(w.labels).first(120), w.folds), InvalidArgument);
  s.update(w.x, w.labels, w.folds);
  EXPECT_THROW(s.update(w.x.narrow(1, 0, 3), w.labels, w.folds), InvalidArgument);
  EXPECT_EQ(s.training().rows, 120);  // what was refused was not added
  EXPECT_THROW(s.merge(FoldStatistics(1, 3)), InvalidArgument);
  // concept 0 has a single class outside of fold 1
  std::vector<std::uint8_t> apart = w.labels;
  for (std::size_t i = 0; i < 120; ++i) apart[2 * i] = static_cast<std::uint8_t>(w.folds[i] == 1);
  FoldStatistics single(2, 3);
  single.update(w.x, apart, w.folds);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              single.training(1);
            }).find("concept 0 among the 80 training rows without fold 1, got only 0"),
            std::string::npos);
}

TEST(RidgeFitter, SolvesTheNormalEquationsOfTheRows) {
  const World w = world();
  const std::vector<double> penalties = {0, 0.3, 50};
  const TrainingStatistics training = statistics(w).training(0);
  const LinearFits fits = RidgeFitter(penalties).fit(training);
  const at::Tensor index = rows_without(w, 0);
  const at::Tensor x = w.x.index_select(0, index);
  const at::Tensor design = at::cat({x, at::ones({x.size(0), 1}, at::kDouble)}, 1);
  for (std::size_t p = 0; p < penalties.size(); ++p) {
    at::Tensor a = design.t().matmul(design);
    a.diagonal().narrow(0, 0, 7).add_(penalties[p]);  // the intercept is free
    for (std::int64_t c = 0; c < 2; ++c) {
      const at::Tensor y =
          w.concept_of(static_cast<std::size_t>(c)).index_select(0, index).mul(2).sub(1);
      const at::Tensor want = at::linalg_solve(a, design.t().matmul(y));
      const auto i = static_cast<std::int64_t>(p);
      EXPECT_TRUE(at::allclose(fits.weights[i][c], want.narrow(0, 0, 7), 1e-8, 1e-10));
      EXPECT_NEAR(fits.intercepts[i][c].item<double>(), want[7].item<double>(), 1e-8);
      EXPECT_TRUE(at::allclose(fits.scores(x)[i][c], design.matmul(want), 1e-8, 1e-9));
    }
  }
  EXPECT_GT(fits.report(0, 1).condition, fits.report(2, 1).condition);
  EXPECT_EQ(fits.report(0, 0).rows, training.rows);
  EXPECT_EQ(fits.reports.size(), 6U);
  EXPECT_THROW(fits.report(3, 0), OutOfRange);
  EXPECT_THROW(fits.report(0, 2), OutOfRange);
}

TEST(LdaFitter, InvertsTheShrunkCovarianceWithinClasses) {
  const World w = world();
  const std::vector<double> shrinkages = {0, 0.2, 1};
  const TrainingStatistics training = statistics(w).training();
  const LinearFits fits = LdaFitter(shrinkages).fit(training);
  for (std::int64_t c = 0; c < 2; ++c) {
    const at::Tensor y = w.concept_of(static_cast<std::size_t>(c));
    const at::Tensor of_one = training.means[1][c], of_zero = training.means[0][c];
    const at::Tensor centre =
        at::where(y.unsqueeze(1).gt(0), of_one.unsqueeze(0), of_zero.unsqueeze(0));
    const at::Tensor r = w.x.sub(centre);
    const at::Tensor s = r.t().matmul(r).div(120.0);
    const double ones = y.sum().item<double>();
    for (std::size_t p = 0; p < shrinkages.size(); ++p) {
      const double gamma = shrinkages[p];
      at::Tensor a = s.mul(1 - gamma);
      a.diagonal().add_(gamma * s.diagonal().sum().item<double>() / 7);
      const at::Tensor want = at::linalg_solve(a, of_one.sub(of_zero));
      const auto i = static_cast<std::int64_t>(p);
      EXPECT_TRUE(at::allclose(fits.weights[i][c], want, 1e-8, 1e-10)) << gamma << ' ' << c;
      const double middle = want.dot(of_one.add(of_zero)).item<double>() / 2;
      EXPECT_NEAR(fits.intercepts[i][c].item<double>(), std::log(ones / (120 - ones)) - middle,
                  1e-8);
    }
  }
}

TEST(MeanDifferenceFitter, PointsFromOneMeanToTheOther) {
  const World w = world();
  const TrainingStatistics training = statistics(w).training(2);
  const LinearFits fits = MeanDifferenceFitter().fit(training);
  EXPECT_TRUE(fits.weights[0].equal(training.means[1].sub(training.means[0])));
  // half-way between the means the score is 0
  for (std::int64_t c = 0; c < 2; ++c) {
    const at::Tensor middle = training.means[0][c].add(training.means[1][c]).div(2).unsqueeze(0);
    EXPECT_NEAR(fits.scores(middle)[0][c].item<double>(), 0, 1e-10);
    EXPECT_GT(fits.scores(training.means[1][c].unsqueeze(0))[0][c].item<double>(), 0);
  }
}

TEST(LinearProbes, RefuseSingularSystemsAndBadSettings) {
  World w = world(120, 7);
  w.x = at::cat({w.x, w.x.narrow(1, 0, 1)}, 1);  // a column twice
  const TrainingStatistics collinear = statistics(w).training();
  EXPECT_NE(message_of<NumericalError>([&] {
              RidgeFitter({1.0, 0.0}).fit(collinear);
            }).find("raise the penalty"),
            std::string::npos);
  EXPECT_THROW(LdaFitter({0.0}).fit(collinear), NumericalError);
  EXPECT_NO_THROW(RidgeFitter({1.0}).fit(collinear));
  EXPECT_NO_THROW(LdaFitter({0.1}).fit(collinear));
  // more columns than rows: possible with a penalty, and said
  const World wide = world(40, 60);
  const TrainingStatistics few = statistics(wide).training();
  EXPECT_THROW(RidgeFitter({0.0}).fit(few), NumericalError);
  EXPECT_NE(RidgeFitter({1.0}).fit(few).reports[0].note.find("40 rows for 60 columns"),
            std::string::npos);
  EXPECT_THROW(RidgeFitter({}), InvalidArgument);
  EXPECT_THROW(RidgeFitter({-1}), InvalidArgument);
  EXPECT_THROW(LdaFitter({1.5}), InvalidArgument);
  const LinearFits fits = RidgeFitter({1.0}).fit(few);
  EXPECT_THROW(fits.scores(wide.x.narrow(1, 0, 5)), InvalidArgument);
  World same = world();
  same.x = at::cat({same.x.narrow(0, 0, 2), same.x.narrow(0, 0, 2)}, 0);
  FoldStatistics s(1, 1);
  s.update(same.x, std::vector<std::uint8_t>{0, 0, 1, 1}, std::vector<std::uint32_t>(4, 0));
  EXPECT_THROW(MeanDifferenceFitter().fit(s.training()), NumericalError);
}

// A fitter from outside of the library takes part like any other.
TEST(LinearFitter, CanBeDerivedFrom) {
  class First final : public LinearFitter {
   public:
    std::string name() const override { return "first"; }
    LinearFits fit(const TrainingStatistics& t) const override {
      return {.weights = at::ones({1, t.concepts(), t.width()}, at::kDouble),
              .intercepts = at::ones({1, t.concepts()}, at::kDouble),
              .reports = {{.rows = t.rows}, {.rows = t.rows}}};
    }
  };
  const World w = world();
  const std::unique_ptr<LinearFitter> fitter = std::make_unique<First>();
  const LinearFits fits = fitter->fit(statistics(w).training());
  EXPECT_TRUE(at::allclose(fits.scores(w.x)[0][1], w.x.sum(1).add(1)));
}

}  // namespace
}  // namespace tierod::probe

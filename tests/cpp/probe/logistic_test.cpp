#include "tierod/probe/logistic.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "probe/logistic_kernel_internal.h"
#include "probe/sample.h"
#include "tierod/core/error.h"

namespace tierod::probe {
namespace {

/// Return the largest element of the gradient of the sum of losses plus penalty, by a plain loop
/// over the known rows outside of one fold.
double slope(const World& w, const LinearFits& fits, std::int64_t p, std::size_t c, double penalty,
             std::int64_t held_out) {
  const at::Tensor weights = fits.weights[p][static_cast<std::int64_t>(c)];
  const auto b = fits.intercepts[p][static_cast<std::int64_t>(c)].item<double>();
  at::Tensor gradient = weights.mul(penalty);
  double of_intercept = 0;
  for (std::size_t i = 0; i < w.folds.size(); ++i) {
    const std::uint8_t label = w.labels[2 * i + c];
    if (label == 255 || w.folds[i] == held_out) continue;
    const at::Tensor x = w.x[static_cast<std::int64_t>(i)];
    const double r = 1 / (1 + std::exp(-(weights.dot(x).item<double>() + b))) - label;
    gradient = gradient.add(x, r);
    of_intercept += r;
  }
  return std::max(gradient.abs().max().item<double>(), std::abs(of_intercept));
}

/// Two concepts that no hyperplane separates, one with gaps.
World noisy(std::int64_t n = 240) {
  World w = world(n, 7);
  const at::Tensor noise = normals(n, 2, 31);
  for (std::int64_t i = 0; i < n; ++i) {
    for (const std::int64_t c : {0, 1}) {
      if (noise[i][c].item<double>() > 1) {
        auto& label = w.labels[static_cast<std::size_t>(2 * i + c)];
        label = static_cast<std::uint8_t>(1 - label);
      }
    }
    if (i % 13 == 5) w.labels[static_cast<std::size_t>(2 * i + 1)] = 255;
  }
  return w;
}

const std::vector<double> kPenalties = {100, 1, 1e-3};

TEST(LogisticFitter, HasNoSlopeAtItsFits) {
  const World w = noisy();
  const LogisticFits fits =
      LogisticFitter(kPenalties, {.tolerance = 1e-16}).fit_folds(w.x, w.labels, w.folds, 3);
  ASSERT_EQ(fits.without.size(), 3U);
  for (std::int64_t p = 0; p < 3; ++p) {
    const double penalty = kPenalties[static_cast<std::size_t>(p)];
    for (const std::size_t c : {0U, 1U}) {
      EXPECT_LT(slope(w, fits.all, p, c, penalty, -1), 1e-4);
      EXPECT_TRUE(fits.all.report(p, static_cast<std::int64_t>(c)).converged);
      EXPECT_FALSE(fits.all.report(p, static_cast<std::int64_t>(c)).separated);
      for (std::int64_t k = 0; k < 3; ++k) {
        EXPECT_LT(slope(w, fits.without[static_cast<std::size_t>(k)], p, c, penalty, k), 1e-4);
      }
    }
  }
  EXPECT_EQ(fits.all.report(0, 1).rows, 221);
}

TEST(LogisticFitter, SaysHowFarItIsFromTheMinimum) {
  const World w = noisy();
  const auto loss = [&](const LinearFits& fits, std::int64_t c) {
    const at::Tensor m = fits.scores(w.x)[0][c];
    double sum = 0.5 * fits.weights[0][c].square().sum().item<double>(), n = 0;
    for (std::size_t i = 0; i < w.folds.size(); ++i) {
      const std::uint8_t label = w.labels[2 * i + static_cast<std::size_t>(c)];
      if (label == 255) continue;
      const auto score = m[static_cast<std::int64_t>(i)].item<double>();
      sum += std::log1p(std::exp(label == 1 ? -score : score));
      n += 1;
    }
    return sum / n;
  };
  const LinearFits exact = LogisticFitter({1.0}, {.tolerance = 1e-15}).fit(w.x, w.labels);
  const LinearFits rough = LogisticFitter({1.0}, {.tolerance = 1e-3}).fit(w.x, w.labels);
  for (const std::int64_t c : {0, 1}) {
    const double above = loss(rough, c) - loss(exact, c);
    EXPECT_GE(above, -1e-12);
    EXPECT_LE(above, 1e-3);
    EXPECT_LE(rough.report(0, c).excess, 1e-3);
  }
}

TEST(LogisticFitter, FitsWithoutAFoldDoNotDependOnTheFold) {
  const World w = noisy();
  std::vector<std::uint8_t> labels;
  at::Tensor index = at::empty({160}, at::kLong);
  std::int64_t n = 0;
  for (std::size_t i = 0; i < 240; ++i) {
    if (w.folds[i] == 1) continue;
    labels.insert(labels.end(), {w.labels[2 * i], w.labels[2 * i + 1]});
    index[n++].fill_(static_cast<std::int64_t>(i));
  }
  const LogisticOptions exact{.tolerance = 1e-17};
  const LinearFits want = LogisticFitter(kPenalties, exact).fit(w.x.index_select(0, index), labels);
  for (const bool refit : {true, false}) {
    LogisticOptions options = exact;
    options.refit = refit;
    const LogisticFits got =
        LogisticFitter(kPenalties, options).fit_folds(w.x, w.labels, w.folds, 3);
    EXPECT_TRUE(at::allclose(got.without[1].weights, want.weights, 1e-5, 1e-6));
    EXPECT_EQ(got.all.weights.defined(), refit);
    EXPECT_EQ(got.without[1].report(0, 0).rows, 160);
  }
}

TEST(LogisticFitter, TakesHalfAndSingleRows) {
  const World w = noisy();
  const LinearFits want = LogisticFitter({1.0}).fit(w.x, w.labels);
  const LinearFits single = LogisticFitter({1.0}).fit(w.x.to(at::kFloat), w.labels);
  EXPECT_TRUE(at::allclose(single.weights, want.weights, 1e-2, 2e-3));
  const at::Tensor half = w.x.to(at::kBFloat16);
  const LinearFits narrow = LogisticFitter({1.0}, {.tolerance = 1e-10}).fit(half, w.labels);
  const LinearFits wide =
      LogisticFitter({1.0}, {.tolerance = 1e-13}).fit(half.to(at::kDouble), w.labels);
  EXPECT_TRUE(at::allclose(narrow.weights, wide.weights, 1e-3, 1e-4));
}

TEST(LogisticFitter, ReportsSeparation) {
  World w = world(60, 7);
  for (std::int64_t i = 0; i < 60; ++i) w.x[i][0].add_(50.0 * static_cast<double>(i % 2));
  const LinearFits fits = LogisticFitter({1e-3, 1.0}).fit(w.x, w.labels);
  EXPECT_TRUE(fits.report(0, 0).separated);
  EXPECT_TRUE(fits.report(0, 0).converged);
  EXPECT_NE(fits.report(0, 0).note.find("a hyperplane separates the 60"), std::string::npos);
  EXPECT_LT(
      slope(w, LogisticFitter({1e-3}, {.tolerance = 1e-15}).fit(w.x, w.labels), 0, 0, 1e-3, -1),
      1e-4);
}

TEST(LogisticFitter, ReportsThatItHasNotConverged) {
  const World w = noisy();
  const LogisticFits fits = LogisticFitter({1e-3}, {.tolerance = 1e-15, .max_iterations = 2})
                                .fit_folds(w.x, w.labels, w.folds, 3);
  const FitReport& report = fits.all.report(0, 0);
  EXPECT_FALSE(report.converged);
  EXPECT_EQ(report.iterations, 2);
  EXPECT_GT(report.excess, 1e-15);
  EXPECT_NE(report.note.find("not converged after 2 iterations"), std::string::npos);
  EXPECT_FALSE(fits.without[2].report(0, 1).converged);
}

TEST(LogisticFitter, StandsRareConceptsCollinearColumnsAndMoreColumnsThanRows) {
  World w = world(3000, 5);
  for (std::size_t i = 0; i < 3000; ++i) {
    w.labels[2 * i] = static_cast<std::uint8_t>(i % 1000 == 7);  // 0.1 %
    if (w.labels[2 * i] == 1) w.x[static_cast<std::int64_t>(i)][2].add_(2);
  }
  w.x = at::cat({w.x, w.x.narrow(1, 0, 1)}, 1);
  const LinearFits rare = LogisticFitter({1.0}, {.tolerance = 1e-15}).fit(w.x, w.labels);
  EXPECT_TRUE(rare.report(0, 0).converged);
  EXPECT_LT(slope(w, rare, 0, 0, 1, -1), 1e-4);
  EXPECT_NEAR(rare.weights[0][0][0].item<double>(), rare.weights[0][0][5].item<double>(), 1e-6);
  const World wide = world(40, 60);
  const LinearFits fits = LogisticFitter({1.0}, {.tolerance = 1e-15}).fit(wide.x, wide.labels);
  EXPECT_LT(slope(wide, fits, 0, 1, 1, -1), 1e-4);
  EXPECT_NE(fits.report(0, 1).note.find("40 rows for 60 columns"), std::string::npos);
}

TEST(LogisticFitter, RefusesBadInput) {
  const World w = world();
  EXPECT_THROW(LogisticFitter({}), InvalidArgument);
  EXPECT_THROW(LogisticFitter({0.0}), InvalidArgument);
  EXPECT_THROW(LogisticFitter({1.0}, {.tolerance = 0}), InvalidArgument);
  const LogisticFitter fitter({1.0});
  EXPECT_THROW(fitter.fit(w.x, std::span(w.labels).first(7)), InvalidArgument);
  EXPECT_THROW(fitter.fit(w.x[0], w.labels), InvalidArgument);
  EXPECT_THROW(fitter.fit_folds(w.x, w.labels, w.folds, 2), InvalidArgument);
  std::vector<std::uint8_t> labels = w.labels;
  labels[9] = 3;
  EXPECT_NE(message_of<InvalidArgument>([&] { fitter.fit(w.x, labels); }).find("row 4, concept 1"),
            std::string::npos);
  for (std::size_t i = 0; i < 120; ++i) {
    labels[2 * i + 1] = static_cast<std::uint8_t>(w.folds[i] == 2);
  }
  EXPECT_NE(message_of<InvalidArgument>([&] {
              fitter.fit_folds(w.x, labels, w.folds, 3);
            }).find("concept 1 among the 80 training rows without fold 2, got only 0"),
            std::string::npos);
  at::Tensor bad = w.x.to(at::kFloat);
  bad[3][0].fill_(NAN);
  EXPECT_NE(message_of<NumericalError>([&] { fitter.fit(bad, w.labels); }).find("row 3"),
            std::string::npos);
}

TEST(LogisticKernel, IsTheSlopeOfTheLossForAllMargins) {
  std::vector<float> m, z;
  for (int i = -1200; i <= 1201; ++i) {
    m.push_back(static_cast<float>(i) * 0.1F);
    z.push_back(i % 3 == 0 ? 1.0F : i % 3 == 1 ? -1.0F : 0.0F);
  }
  std::vector<float> r = m;
  std::vector<double> wide(m.begin(), m.end()), signs(z.begin(), z.end());
  tierod::internal::LogisticSums sums, want;
  tierod::internal::logistic_slopes(r.data(), z.data(), static_cast<std::int64_t>(r.size()), 0.5F,
                                    sums);
  tierod::internal::logistic_slopes(wide.data(), signs.data(),
                                    static_cast<std::int64_t>(wide.size()), 0.5, want);
  for (std::size_t i = 0; i < m.size(); ++i) {
    const double margin = static_cast<double>(m[i]), sign = static_cast<double>(z[i]);
    ASSERT_NEAR(wide[i], -sign / (1 + std::exp(sign * margin)), 1e-15);
    ASSERT_NEAR(static_cast<double>(r[i]), wide[i], 3e-7 * std::abs(wide[i]) + 1e-37) << m[i];
  }
  EXPECT_NEAR(sums.slope, want.slope, 1e-3);
  EXPECT_NEAR(sums.weight, want.weight, 1e-4);
  EXPECT_NEAR(sums.first, want.first, 1e-3);
  EXPECT_NEAR(sums.second, want.second, 1e-3);
  EXPECT_EQ(sums.mistakes, want.mistakes);
}

}  // namespace
}  // namespace tierod::probe

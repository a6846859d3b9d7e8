#include "tierod/probe/cross_validation.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/round.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "probe/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/ranking.h"

namespace tierod::probe {
namespace {

TEST(CrossValidation, ScoresRowsByTheFitThatHasNotSeenThem) {
  World w = world(300, 9);
  for (std::size_t i = 0; i < 300; i += 11) w.labels[2 * i + 1] = 255;
  for (const bool mixed : {false, true}) {
    // folds in one piece each, and folds that alternate
    for (std::size_t i = 0; i < 300; ++i) {
      w.folds[i] = static_cast<std::uint32_t>(mixed ? i % 3 : i / 100);
    }
    const CrossValidation got = cross_validate(RidgeFitter({1.0, 30.0}), w.x, w.labels, w.folds, 3);
    const CrossValidation single =
        cross_validate(RidgeFitter({1.0, 30.0}), w.x.to(at::kFloat), w.labels, w.folds, 3);
    EXPECT_EQ(single.scores.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::allclose(single.scores.to(at::kDouble), got.scores, 1e-4, 1e-5));
    FoldStatistics s(2, 3);
    s.update(w.x, w.labels, w.folds);
    for (std::uint32_t k = 0; k < 3; ++k) {
      const at::Tensor want = fit(RidgeFitter({1.0, 30.0}), s, k).scores(w.x);  // [P, C, n]
      for (std::int64_t i = 0; i < 300; ++i) {
        if (w.folds[static_cast<std::size_t>(i)] != k) continue;
        ASSERT_TRUE(at::allclose(got.scores.select(2, i), want.select(2, i), 1e-9, 1e-10));
      }
      for (const std::int64_t p : {0, 1}) {
        for (const std::size_t c : {0U, 1U}) {
          std::vector<double> scores;
          std::vector<std::uint8_t> labels;
          for (std::int64_t i = 0; i < 300; ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (w.folds[at] != k || w.labels[2 * at + c] == 255) continue;
            scores.push_back(want[p][static_cast<std::int64_t>(c)][i].item<double>());
            labels.push_back(w.labels[2 * at + c]);
          }
          EXPECT_NEAR(got.auroc[k][p][static_cast<std::int64_t>(c)].item<double>(),
                      stats::auroc(scores, labels), 1e-12);
        }
      }
    }
  }
}

TEST(FoldAuroc, CountsTiesHalfAndIsNanWithoutAClass) {
  const at::Tensor scores = at::round(normals(2, 60, 3).mul(2)).view({1, 2, 60});
  std::vector<std::uint8_t> labels;
  std::vector<std::uint32_t> folds;
  for (std::size_t i = 0; i < 60; ++i) {
    labels.push_back(static_cast<std::uint8_t>(i % 3 == 0));
    labels.push_back(static_cast<std::uint8_t>(i < 30 ? i % 2 : 1));
    folds.push_back(i < 30 ? 0 : 1);
  }
  const at::Tensor got = fold_auroc(scores, labels, folds, 2);
  std::vector<double> first;
  std::vector<std::uint8_t> of_first;
  for (std::size_t i = 30; i < 60; ++i) {
    first.push_back(scores[0][0][static_cast<std::int64_t>(i)].item<double>());
    of_first.push_back(labels[2 * i]);
  }
  EXPECT_NEAR(got[1][0][0].item<double>(), stats::auroc(first, of_first), 1e-14);
  EXPECT_TRUE(std::isnan(got[1][0][1].item<double>()));
  EXPECT_FALSE(std::isnan(got[0][0][1].item<double>()));
}

TEST(CrossValidation, RefusesBadInput) {
  const World w = world();
  const CrossValidation cv = cross_validate(RidgeFitter({1.0}), w.x, w.labels, w.folds, 3);
  EXPECT_THROW(held_out_scores(w.x, w.folds, {}), InvalidArgument);
  EXPECT_THROW(held_out_scores(w.x.narrow(1, 0, 3), w.folds, cv.fits), InvalidArgument);
  EXPECT_THROW(held_out_scores(w.x, std::span(w.folds).first(5), cv.fits), InvalidArgument);
  EXPECT_THROW(held_out_scores(w.x, w.folds, std::span(cv.fits).first(2)), InvalidArgument);
  EXPECT_THROW(fold_auroc(cv.scores.select(0, 0), w.labels, w.folds, 3), InvalidArgument);
  EXPECT_THROW(fold_auroc(cv.scores, w.labels, std::span(w.folds).first(5), 3), InvalidArgument);
  at::Tensor bad = w.x.to(at::kFloat);
  bad[17][1].fill_(INFINITY);
  EXPECT_NE(message_of<NumericalError>([&] {
              cross_validate(RidgeFitter({1.0}), bad, w.labels, w.folds, 3);
            }).find("row 17"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::probe

#include "tierod/probe/verify_erasure.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "probe/sample.h"
#include "tierod/core/error.h"

namespace tierod::probe {
namespace {

struct Scenes {
  at::Tensor x, z;  // [n, d], [n, 1]
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> groups;
};

/// Scenes of 5 rows, half of them with the concept, which shows in one direction.
Scenes scenes(std::int64_t n, std::int64_t d, std::uint64_t seed) {
  Scenes s{.x = normals(n, d, seed), .z = at::empty({n, 1}, at::kDouble)};
  const at::Tensor along = normals(1, d, 99).flatten();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto label = static_cast<std::uint8_t>((i / 5) % 2);
    s.labels.push_back(label);
    s.groups.push_back(i / 5);
    s.z[i][0].fill_(static_cast<double>(label));
    if (label == 1) s.x[i].add_(along, 0.5);
  }
  return s;
}

Eraser fitted(const Scenes& s) {
  LeaceFitter fitter;
  fitter.update(s.x, s.z);
  return fitter.finish();
}

TEST(VerifyErasure, PassesWhatWasErasedFromEnoughRows) {
  const Scenes test = scenes(1500, 8, 2);
  const ErasureCheck check =
      verify_erasure(fitted(scenes(6000, 8, 1)), test.x, test.labels, test.groups);
  EXPECT_TRUE(check.passed) << check.reason;
  EXPECT_TRUE(check.reason.empty());
  EXPECT_GT(check.before.low, 0.7);
  EXPECT_LT(check.after.estimate, 0.6);
  EXPECT_EQ(check.after.clusters, 300U);
  EXPECT_EQ(check.positives, 750);
  EXPECT_EQ(check.positive_units, 150U);
  // twice the variance of the interval of given scores
  EXPECT_GT(check.upper, check.after.high);
  EXPECT_NEAR(check.upper,
              check.after.estimate + 1.959964 * std::sqrt(2) * check.after.standard_error, 1e-6);
}

TEST(VerifyErasure, SeesThatFewRowsPerColumnDoNotErase) {
  const Scenes few = scenes(60, 40, 1), test = scenes(1500, 40, 2);
  const Eraser eraser = fitted(few);
  const ErasureCheck check = verify_erasure(eraser, test.x, test.labels, test.groups);
  EXPECT_FALSE(check.passed);
  EXPECT_GT(check.after.estimate, 0.65);
  EXPECT_NE(check.reason.find("still reads"), std::string::npos) << check.reason;
}

TEST(VerifyErasure, SaysWhenItCannotTell) {
  const Scenes test = scenes(200, 8, 2);
  const ErasureCheck check =
      verify_erasure(fitted(scenes(6000, 8, 1)), test.x, test.labels, test.groups);
  EXPECT_FALSE(check.passed);
  EXPECT_NE(check.reason.find("only 20 units with the rarer class"), std::string::npos)
      << check.reason;
}

TEST(VerifyErasure, CountsUnitsAndNotRows) {
  // 750 rows with the concept, of 75 scenes
  Scenes test = scenes(1500, 8, 2);
  for (std::int64_t& g : test.groups) g /= 2;
  const ErasureCheck one =
      verify_erasure(fitted(scenes(6000, 8, 1)), test.x, test.labels, test.groups);
  EXPECT_EQ(one.positive_units, 150U);  // each scene has rows of both classes
  for (std::size_t i = 0; i < test.groups.size(); ++i) {
    test.groups[i] = 2 * (static_cast<std::int64_t>(i) / 20) + test.labels[i];
  }
  const ErasureCheck check =
      verify_erasure(fitted(scenes(6000, 8, 1)), test.x, test.labels, test.groups);
  EXPECT_EQ(check.positives, 750);
  EXPECT_EQ(check.positive_units, 75U);
  EXPECT_FALSE(check.passed);
  EXPECT_NE(check.reason.find("only 75 units"), std::string::npos) << check.reason;
}

// Nothing is erased, and the best linear reading has AUROC Phi(shift / sqrt 2) = .65, the bar
// itself: a claim that it is below the bar is wrong, and may be made in one check of twenty.
TEST(VerifyErasure, SeldomPassesWhatStillReadsAtTheBar) {
  constexpr std::int64_t kUnits = 300, kColumns = 4;
  constexpr int kChecks = 300;
  constexpr double kShift = 0.5449;
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> groups;
  for (std::int64_t i = 0; i < kUnits; ++i) {
    labels.push_back(static_cast<std::uint8_t>(i % 2));
    groups.push_back(i);
  }
  int passed = 0, given = 0;
  for (int run = 0; run < kChecks; ++run) {
    const at::Tensor x = normals(kUnits, kColumns, 1000 + static_cast<std::uint64_t>(run));
    for (std::int64_t i = 1; i < kUnits; i += 2) x[i][0].add_(kShift);
    const ErasureCheck check = verify_erasure(
        x, x, labels, groups, {.replicates = 100, .seed = static_cast<std::uint64_t>(run)});
    passed += check.passed ? 1 : 0;
    given += check.after.estimate <= 0.60 && check.after.high <= 0.65 ? 1 : 0;
  }
  RecordProperty("passed", passed);
  RecordProperty("by the interval of given scores", given);
  EXPECT_LE(passed, kChecks / 20) << "of " << kChecks << ", and " << given
                                  << " by the interval of given scores";
}

TEST(VerifyErasure, TakesRowsThatAnyMapHasErased) {
  const Scenes s = scenes(1500, 8, 2);
  const Eraser eraser = fitted(scenes(6000, 8, 1));
  const ErasureCheck want = verify_erasure(eraser, s.x, s.labels, s.groups),
                     got = verify_erasure(eraser.apply(s.x), s.x, s.labels, s.groups);
  EXPECT_EQ(got.after.estimate, want.after.estimate);
  EXPECT_EQ(got.upper, want.upper);
  EXPECT_EQ(got.before.estimate, want.before.estimate);
  // what keeps the rows as they are erases nothing
  EXPECT_FALSE(verify_erasure(s.x, s.x, s.labels, s.groups).passed);
  EXPECT_THROW(verify_erasure(s.x.narrow(1, 0, 3), s.x, s.labels, s.groups), InvalidArgument);
}

TEST(VerifyErasure, RefusesBadInput) {
  const Scenes s = scenes(100, 4, 1);
  const Eraser eraser = fitted(s);
  EXPECT_THROW(verify_erasure(eraser, s.x, std::span(s.labels).first(5), s.groups),
               InvalidArgument);
  EXPECT_THROW(verify_erasure(eraser, s.x.narrow(1, 0, 3), s.labels, s.groups), InvalidArgument);
  EXPECT_THROW(verify_erasure(eraser, s.x, s.labels, std::vector<std::int64_t>(100, 3)),
               InvalidArgument);
  EXPECT_THROW(verify_erasure(eraser, s.x, s.labels, s.groups, {.penalties = {}}), InvalidArgument);
  std::vector<std::uint8_t> missing = s.labels;
  missing[8] = 255;
  EXPECT_NE(message_of<InvalidArgument>([&] {
              verify_erasure(eraser, s.x, missing, s.groups);
            }).find("row 8"),
            std::string::npos);
}

TEST(Leace, OfSomeColumnsIsThatOfAFitterWhichSawNoOthers) {
  const World w = world();
  const at::Tensor z = at::stack({w.concept_of(0), w.concept_of(1)}, 1);
  LeaceFitter both, second;
  both.update(w.x, z);
  second.update(w.x, z.narrow(1, 1, 1));
  const at::Tensor got = both.finish({.columns = {1}}).apply(w.x);
  EXPECT_TRUE(at::allclose(got, second.finish().apply(w.x), 1e-10, 1e-10));
  EXPECT_EQ(both.finish({.columns = {1, 0}}).rank(), 2);
  EXPECT_THROW(both.finish({.columns = {2}}), InvalidArgument);
  EXPECT_THROW(both.finish({.columns = {1, 1}}), InvalidArgument);
}

TEST(Leace, OfSingleRowsErasesToF32) {
  const Scenes s = scenes(3000, 30, 1);
  LeaceFitter single, exact;
  single.update(s.x.add(100).to(at::kFloat), s.z);
  exact.update(s.x.add(100), s.z);
  EXPECT_TRUE(at::allclose(single.finish({.shrinkage = 0}).right(),
                           exact.finish({.shrinkage = 0})
                               .right()
                               .mul(single.finish({.shrinkage = 0})
                                        .right()
                                        .mul(exact.finish({.shrinkage = 0}).right())
                                        .sum()
                                        .sign()),
                           1e-4, 1e-5));
}

// Belrose et al., section 4.3: x - Cov(x, z) Cov(z, z)^-1 (z - mean z), a regression's residual.
TEST(OracleLeace, IsTheResidualOfARegressionOnTheConcepts) {
  const World w = world();
  const at::Tensor z = at::stack({w.concept_of(0), w.concept_of(1)}, 1);
  LeaceFitter fitter, rest;
  fitter.update(w.x.narrow(0, 0, 50), z.narrow(0, 0, 50));
  rest.update(w.x.narrow(0, 50, 70), z.narrow(0, 50, 70));
  fitter.merge(rest);
  const OracleEraser eraser = fitter.finish_oracle();
  const at::Tensor c = z.sub(z.mean(0));
  const at::Tensor slope = at::linalg_solve(c.t().matmul(c), c.t().matmul(w.x));  // [k, d]
  const at::Tensor got = eraser.apply(w.x, z);
  EXPECT_TRUE(at::allclose(got, w.x.sub(c.matmul(slope)), 1e-9, 1e-9));
  // uncorrelated with z, and moved less than by a map of x alone
  EXPECT_LT(c.t().matmul(got.sub(got.mean(0))).abs().max().item<double>(), 1e-9);
  EXPECT_LT(got.sub(w.x).square().sum().item<double>(),
            fitter.finish({.shrinkage = 0}).apply(w.x).sub(w.x).square().sum().item<double>());
  EXPECT_TRUE(
      at::allclose(eraser.apply(w.x.narrow(0, 3, 4), z.narrow(0, 3, 4)), got.narrow(0, 3, 4)));
  EXPECT_THROW(eraser.apply(w.x, z.narrow(1, 0, 1)), InvalidArgument);
  LeaceFitter twice;
  twice.update(w.x, at::stack({w.concept_of(0), w.concept_of(0).mul(-2)}, 1));
  EXPECT_EQ(twice.finish_oracle().report().rank, 1);
  EXPECT_NE(twice.finish_oracle().report().note.find("only 1 independent"), std::string::npos);
}

}  // namespace
}  // namespace tierod::probe

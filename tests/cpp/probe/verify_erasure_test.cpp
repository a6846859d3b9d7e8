#include "tierod/probe/verify_erasure.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

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
  EXPECT_NE(check.reason.find("only 100 rows of the rarer class"), std::string::npos);
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

#include "tierod/probe/eraser.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "probe/sample.h"
#include "tierod/core/error.h"
#include "tierod/probe/direction.h"

namespace tierod::probe {
namespace {

at::Tensor both_concepts(const World& w) {
  return at::stack({w.concept_of(0), w.concept_of(1)}, 1);
}

at::Tensor cross_covariance(const at::Tensor& x, const at::Tensor& z) {
  return x.sub(x.mean(0)).t().matmul(z.sub(z.mean(0))).div(static_cast<double>(x.size(0) - 1));
}

Eraser fitted(const World& w, double shrinkage) {
  LeaceFitter fitter;
  fitter.update(w.x, both_concepts(w));
  return fitter.finish({.shrinkage = shrinkage});
}

TEST(Leace, IsGuardedOnTheTrainingRowsWhateverTheShrinkage) {
  const World w = world();
  for (const double shrinkage : {0.0, 0.1, 0.9, -1.0}) {
    const Eraser eraser = fitted(w, shrinkage);
    const at::Tensor erased = eraser.apply(w.x);
    const double left = cross_covariance(erased, both_concepts(w)).abs().max().item<double>();
    EXPECT_LT(left, 1e-12) << shrinkage;
    EXPECT_GT(cross_covariance(w.x, both_concepts(w)).abs().max().item<double>(), 0.1);
    EXPECT_EQ(eraser.rank(), 2);
    EXPECT_TRUE(eraser.report().note.empty()) << eraser.report().note;
  }
  EXPECT_GT(fitted(w, -1).report().shrinkage, 0);
  EXPECT_LT(fitted(w, -1).report().shrinkage, 0.5);
}

TEST(Leace, IsAnIdempotentProjectionOfRankK) {
  const World w = world();
  const Eraser eraser = fitted(w, 0.05);
  EXPECT_TRUE(
      at::allclose(eraser.right().matmul(eraser.left()), at::eye(2, at::kDouble), 1e-10, 1e-10));
  const at::Tensor once = eraser.apply(w.x);
  EXPECT_TRUE(at::allclose(eraser.apply(once), once, 1e-10, 1e-9));
  // the mean stays
  EXPECT_TRUE(at::allclose(once.mean(0), w.x.mean(0), 1e-10));
}

// Belrose et al., the closed form for one binary concept: x - s (s' S^-1 (x - mu)) / (s' S^-1 s).
TEST(Leace, OfOneBinaryConceptIsItsClosedForm) {
  const World w = world();
  const at::Tensor z = w.concept_of(0).unsqueeze(1);
  LeaceFitter fitter;
  fitter.update(w.x, z);
  const at::Tensor got = fitter.finish({.shrinkage = 0}).apply(w.x);
  const at::Tensor s = cross_covariance(w.x, z).flatten();
  const at::Tensor read = at::linalg_solve(cross_covariance(w.x, w.x), s);
  const at::Tensor position = w.x.sub(w.x.mean(0)).matmul(read).div(read.dot(s));
  EXPECT_TRUE(at::allclose(got, w.x.sub(position.unsqueeze(1).mul(s.unsqueeze(0))), 1e-9, 1e-9));
}

// Any other affine map with zero cross-covariance, (I - B C+ ...) with another complement, moves
// the rows further: x - left A (x - mean) for any A with A s = I on the span of the
// cross-covariance.
TEST(Leace, MovesRowsLeastAmongGuardedMaps) {
  const World w = world();
  const Eraser eraser = fitted(w, 0);
  const double least = eraser.apply(w.x).sub(w.x).square().sum().item<double>();
  const at::Tensor s = cross_covariance(w.x, both_concepts(w));  // [d, 2]
  const at::Tensor centred = w.x.sub(w.x.mean(0));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    // A = pinv(N s) N for a random N maps s to the identity: x - s A (x - mean) is guarded
    const at::Tensor n = at::eye(7, at::kDouble).add(normals(7, 7, 50 + seed), 0.3);
    const at::Tensor a = at::linalg_pinv(n.matmul(s)).matmul(n);
    const at::Tensor other = w.x.sub(centred.matmul(a.t()).matmul(s.t()));
    ASSERT_LT(cross_covariance(other, both_concepts(w)).abs().max().item<double>(), 1e-9);
    EXPECT_GT(other.sub(w.x).square().sum().item<double>(), least);
  }
}

TEST(Leace, DoesNotLoseARareConcept) {
  World w = world(1000, 6);
  at::Tensor rare = w.concept_of(0).mul(0);
  for (std::int64_t i = 0; i < 1000; i += 200) {  // 0.5 %
    rare[i].fill_(1);
    w.x[i][4].add_(3);
  }
  LeaceFitter fitter;
  // beside a concept in other units, against which an absolute tolerance would drop it
  const at::Tensor z = at::stack({rare, w.concept_of(0).mul(1e9)}, 1);
  fitter.update(w.x, z);
  const Eraser eraser = fitter.finish();
  EXPECT_EQ(eraser.rank(), 2);
  EXPECT_LT(cross_covariance(eraser.apply(w.x), rare.unsqueeze(1)).abs().max().item<double>(),
            1e-12);
}

TEST(Leace, DoesNotDependOnHowRowsAreCutAndKeepsDtype) {
  const World w = world();
  const at::Tensor z = both_concepts(w);
  LeaceFitter parts, other;
  parts.update(w.x.narrow(0, 0, 31), z.narrow(0, 0, 31));
  other.update(w.x.narrow(0, 31, 89), z.narrow(0, 31, 89));
  parts.merge(other);
  EXPECT_TRUE(at::allclose(parts.finish().apply(w.x), fitted(w, -1).apply(w.x), 1e-9, 1e-9));
  const at::Tensor half = fitted(w, -1).apply(w.x.to(at::kBFloat16));
  EXPECT_EQ(half.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::allclose(half.to(at::kDouble), fitted(w, -1).apply(w.x), 2e-2, 0.1));
}

TEST(Leace, ReportsWhatItDegradesTo) {
  const World w = world();
  LeaceFitter twice;
  twice.update(w.x, at::stack({w.concept_of(0), w.concept_of(0).mul(-2)}, 1));
  EXPECT_EQ(twice.finish().rank(), 1);
  EXPECT_NE(twice.finish().report().note.find("span only 1"), std::string::npos);
  const World wide = world(20, 30);
  const Eraser few = fitted(wide, 0);
  EXPECT_EQ(few.report().rank, 19);  // rows - 1
  EXPECT_NE(few.report().note.find("20 rows for 30 columns"), std::string::npos);
  EXPECT_LT(cross_covariance(few.apply(wide.x), both_concepts(wide)).abs().max().item<double>(),
            1e-9);
}

TEST(Leace, RefusesBadInput) {
  const World w = world();
  LeaceFitter fitter;
  EXPECT_THROW(fitter.finish(), StateError);
  EXPECT_THROW(fitter.update(w.x, both_concepts(w).narrow(0, 0, 5)), InvalidArgument);
  EXPECT_THROW(fitter.update(w.x, w.concept_of(0)), InvalidArgument);
  at::Tensor bad = both_concepts(w).clone();
  bad[3][1].fill_(std::nan(""));
  EXPECT_NE(message_of<NumericalError>([&] { fitter.update(w.x, bad); }).find("z, got NaN"),
            std::string::npos);
  fitter.update(w.x, both_concepts(w));
  EXPECT_THROW(fitter.update(w.x.narrow(1, 0, 3), both_concepts(w)), InvalidArgument);
  EXPECT_THROW(fitter.update(w.x, w.concept_of(0).unsqueeze(1)), InvalidArgument);
  EXPECT_THROW(fitter.finish({.shrinkage = 1.5}), InvalidArgument);
  EXPECT_THROW(fitter.finish({.tolerance = 0}), InvalidArgument);
  EXPECT_THROW(fitter.finish().apply(w.x.narrow(1, 0, 3)), InvalidArgument);
  LeaceFitter constant;
  constant.update(w.x, at::stack({w.concept_of(0), w.concept_of(0).mul(0)}, 1));
  EXPECT_NE(
      message_of<NumericalError>([&] { constant.finish(); }).find("column 1 of z is constant"),
      std::string::npos);
}

Direction direction() {
  return {"layers.3.resid_post",
          normals(1, 7, 60).flatten(),
          normals(1, 7, 60).add(normals(1, 7, 61), 0.2).flatten(),
          normals(1, 7, 62).flatten(),
          0.8,
          -0.4,
          0.6};
}

TEST(Direction, ReadsWhatItWrites) {
  const Direction d = direction();
  EXPECT_NEAR(d.read().dot(d.write()).item<double>(), 1, 1e-12);
  const at::Tensor x = normals(9, 7, 63);
  EXPECT_TRUE(
      at::allclose(d.position(d.swap(x, true)), at::ones({9}, at::kDouble).mul(0.6), 1e-10));
  EXPECT_TRUE(
      at::allclose(d.position(d.swap(x, false)), at::ones({9}, at::kDouble).mul(-0.4), 1e-10));
  EXPECT_LT(d.position(d.ablate(x)).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE(at::allclose(d.position(d.add(x, 2)).sub(d.position(x)),
                           at::ones({9}, at::kDouble).mul(1.6), 1e-10));
  // what the read vector does not see stays
  const at::Tensor moved = d.swap(x, true).sub(x);
  const at::Tensor along = moved.matmul(d.read()).unsqueeze(1).mul(d.write().unsqueeze(0));
  EXPECT_TRUE(at::allclose(moved, along, 1e-10, 1e-12));
  EXPECT_EQ(d.add(x.to(at::kHalf), 1).scalar_type(), at::kHalf);
}

TEST(Direction, RefusesBadInput) {
  const at::Tensor r = normals(1, 7, 60).flatten(), mu = normals(1, 7, 62).flatten();
  const auto make = [&](const at::Tensor& read, const at::Tensor& write, double sd = 1) {
    return [=] { Direction("", read, write, mu, sd, 0, 1); };
  };
  EXPECT_NE(message_of<NumericalError>(make(r, r.neg())).find("read' write > 0"),
            std::string::npos);
  EXPECT_THROW(make(r, r.mul(0))(), NumericalError);
  EXPECT_THROW(make(r, r.narrow(0, 0, 3))(), InvalidArgument);
  EXPECT_THROW(make(r.unsqueeze(0), r)(), InvalidArgument);
  EXPECT_THROW(make(r.mul(std::nan("")), r)(), NumericalError);
  EXPECT_THROW(make(r, r, 0)(), InvalidArgument);
  EXPECT_THROW(direction().position(normals(3, 6, 1)), InvalidArgument);
  EXPECT_THROW(direction().add(normals(3, 7, 1), std::nan("")), InvalidArgument);
}

}  // namespace
}  // namespace tierod::probe

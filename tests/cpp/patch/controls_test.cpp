#include <ATen/ops/diag.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "message_of.h"
#include "patch/toy_vla.h"
#include "tierod/patch/matched.h"
#include "tierod/patch/mediation.h"

namespace tierod::patch {
namespace {

constexpr std::int64_t kScenes = 40;

const vla::ControlFunctional kAcceleration = vla::ControlFunctional::from_name("mean_acceleration");

std::vector<std::int64_t> ids() {
  std::vector<std::int64_t> out(kScenes);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

std::vector<std::uint8_t> labels() {
  std::vector<std::uint8_t> out;
  for (const std::int64_t id : ids()) out.push_back(static_cast<std::uint8_t>(id % 2));
  return out;
}

at::Tensor normals(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  const CounterRandom random(seed, "test");
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[i][j] = random.normal(static_cast<std::uint64_t>(i), 0, static_cast<std::uint32_t>(j));
    }
  }
  return out;
}

probe::Direction first_axis() {
  at::Tensor unit = at::zeros({kWidth}, at::kDouble);
  unit[0] = 1;
  return {"s", unit, unit, unit * 0.5, 0.5, -0.5, 0.5};
}

TEST(MatchedDirections, AreAsLongAndAsFarAsTheDirection) {
  constexpr std::int64_t d = 12;
  const at::Tensor x =
      normals(40, d, 1) * at::tensor(std::vector<double>{9, 5, 4, 3, 3, 2, 2, 1, 1, .5, .3, .1});
  const at::Tensor covariance = x.t().matmul(x) / 40;
  const at::Tensor w = normals(1, d, 2)[0];
  const at::Tensor u = matched_directions(w, covariance, 200, 4);
  ASSERT_EQ(u.sizes(), (std::vector<std::int64_t>{200, d}));
  const auto mahalanobis = [&](const at::Tensor& v) {
    return v.dot(at::linalg_solve(covariance, v)).item<double>();
  };
  for (std::int64_t i = 0; i < 200; ++i) {
    EXPECT_NEAR(u[i].norm().item<double>(), w.norm().item<double>(), 1e-10);
    EXPECT_NEAR(mahalanobis(u[i]) / mahalanobis(w), 1, 1e-8);
  }
  // signs are fair: the mean over many is short
  EXPECT_LT(u.mean(0).norm().item<double>(), 3 * w.norm().item<double>() / std::sqrt(200));
  EXPECT_TRUE(u.equal(matched_directions(w, covariance, 200, 4)));
  EXPECT_FALSE(u.equal(matched_directions(w, covariance, 200, 5)));
  EXPECT_TRUE(u.narrow(0, 0, 3).equal(matched_directions(w, covariance, 3, 4)));
}

TEST(MatchedDirections, CountDimensions) {
  EXPECT_DOUBLE_EQ(participation_ratio(at::eye(7, at::kDouble)), 7);
  // (3 + 1)^2 / (9 + 1)
  EXPECT_DOUBLE_EQ(participation_ratio(at::diag(at::tensor(std::vector<double>{3, 1, 0}))), 1.6);
}

TEST(MatchedDirections, AreWrittenByTheAmountsOfTheDirection) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids());
  std::vector<std::uint8_t> other;
  for (const std::uint8_t label : labels()) other.push_back(label == 0 ? 1 : 0);
  at::Tensor written = at::zeros({kWidth}, at::kDouble);
  written[0] = 0.25;
  written[1] = 3;  // the head does not read it
  const DirectionPlace plain{.site = "vlm.image_embeds", .direction = first_axis()};
  DirectionPlace matched = plain;
  matched.written = written;
  const at::Tensor whole = run.direct(DirectionEdit::swap({plain}, other), kAcceleration);
  const at::Tensor quarter = run.direct(DirectionEdit::swap({matched}, other), kAcceleration);
  EXPECT_LT((quarter - whole * 0.25).abs().max().item<double>(), 1e-12);
  matched.written = written.narrow(0, 0, 2);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              run.direct(DirectionEdit::swap({matched}, other), kAcceleration);
            }).find("a written vector [4], got [2]"),
            std::string::npos);
}

probe::Eraser eraser() {
  const ToyScenes scenes;
  const vla::Batch all = scenes.batch(ids());
  at::Tensor x = all.at("other") * 0.1;
  x.select(1, 0).add_(all.at("z"));
  probe::LeaceFitter fitter;
  fitter.update(x, all.at("z").unsqueeze(1));
  return fitter.finish({.shrinkage = 0});
}

TEST(ErasureEdit, IsWhatTheEraserDoes) {
  const probe::Eraser erase = eraser();
  const Site site("vlm.image_embeds", "rtw");
  const at::Tensor x = normals(2 * kImageTokens, kWidth, 8).view({2, kImageTokens, kWidth});
  const auto edited = [&](Over over) {
    Session session;
    const ErasureEdit edit({{.site = "vlm.image_embeds", .eraser = erase, .over = over}});
    edit.put_on(session, {.scenes = {0, 1}, .numbers = {0, 1}});
    at::Tensor out;
    session.run([&] { out = hook_point(x, site); });
    return out;
  };
  const at::Tensor each = erase.apply(x.view({-1, kWidth})).view(x.sizes());
  EXPECT_TRUE(edited(Over::each).allclose(each, 1e-10, 1e-12));
  // over the mean token every token moves as the mean does
  const at::Tensor mean = x.mean(1);
  const at::Tensor pooled = x + (erase.apply(mean) - mean).unsqueeze(1);
  EXPECT_TRUE(edited(Over::pooled).allclose(pooled, 1e-10, 1e-12));
}

TEST(MediatedShare, IsWhatPassesTheAblatedDirections) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids(), {.batch_size = 16});
  const DirectionPlace place{.site = "vlm.image_embeds", .direction = first_axis()};
  DirectionPlace one_token = place;
  one_token.selection = {.tokens = Tokens::index({1})};
  const auto share = [&](const Edit& edit) {
    return mediated_share(run, "pedestrian", labels(), ids(), edit, kAcceleration, Words::held,
                          {.replicates = 200});
  };
  const Mediation all = share(DirectionEdit::ablate({place}));
  EXPECT_NEAR(all.share.interval.estimate, 1, 1e-12);
  EXPECT_NEAR(all.twin_effect, kDirect, 1e-12);
  EXPECT_NEAR(all.edited_effect, 0, 1e-12);
  const Mediation third = share(DirectionEdit::ablate({one_token}));
  EXPECT_NEAR(third.share.interval.estimate, 1.0 / 3, 1e-12);
  EXPECT_NEAR(third.edited_effect, kDirect * 2 / 3, 1e-12);
  const Mediation none = share(DirectionEdit::add({place}, 2));
  EXPECT_NEAR(none.share.interval.estimate, 0, 1e-12);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              mediated_share(run, "pedestrian", labels(), {}, DirectionEdit::add({place}, 2),
                             kAcceleration);
            }).find("a label and a group for each of 40"),
            std::string::npos);
}

TEST(MatchedDirections, RefuseWhatTheyCannotMean) {
  const at::Tensor w = at::zeros({3}, at::kDouble), s = at::eye(3, at::kDouble);
  EXPECT_THROW(matched_directions(w, at::eye(4, at::kDouble), 1), InvalidArgument);
  EXPECT_THROW(matched_directions(w, s, 0), InvalidArgument);
  at::Tensor skew = s.clone();
  skew[0][1] = 1;
  EXPECT_THROW(matched_directions(w, skew, 1), InvalidArgument);
  at::Tensor broken = s.clone();
  broken[0][0] = std::nan("");
  EXPECT_THROW(matched_directions(w, broken, 1), NumericalError);
  EXPECT_THROW(participation_ratio(s * 0), InvalidArgument);
  EXPECT_THROW(ErasureEdit({}), InvalidArgument);
}

}  // namespace
}  // namespace tierod::patch

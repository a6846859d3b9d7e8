#include "tierod/vla/model.h"

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "message_of.h"
#include "tierod/core/error.h"
#include "vla/fixture.h"

namespace tierod::vla {
namespace {

std::string refusal(const auto& call) { return message_of<InvalidArgument>(call); }

TEST(RolloutScenes, CallsTheModelOnceABatchAndKeepsTheOrder) {
  const ToySource source(10);
  ToyModel model;
  const std::vector<std::int64_t> ids = {9, 2, 4, 0, 7};
  const at::Tensor noise = at::randn({10, 4, 2}).mul(0.1);
  const RolloutOptions options = {.num_samples = 2, .noise = noise};
  const Rollout one = rollout_scenes(model, source, ids, options);
  EXPECT_EQ(model.calls, 1);
  const Rollout parts = rollout_scenes(model, source, ids, options, 2);
  EXPECT_EQ(model.calls, 1 + 3);
  EXPECT_TRUE(one.actions.equal(parts.actions));
  EXPECT_TRUE(one.trajectory.equal(parts.trajectory));
  EXPECT_TRUE(one.initial_speed.equal(
      at::tensor({14., 14., 7., 7., 9., 9., 5., 5., 12., 12.}, at::kFloat)));
  EXPECT_TRUE(one.sample_index.equal(at::arange(10).remainder(2)));
}

TEST(RolloutScenes, RefusesWhatTheModelCannotDo) {
  const ToySource source(4);
  ToyModel model;
  EXPECT_NE(refusal([&] { rollout_scenes(model, source, {}); }).find("got no ids"),
            std::string::npos);
  EXPECT_NE(message_of<OutOfRange>([&] {
              rollout_scenes(model, source, {0, 4});
            }).find("scenes in [0, 4), got 4"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              rollout_scenes(model, source, {0}, {.temperature = 0.5});
            }).find("got temperature; it can do [num_samples, noise]"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              rollout_scenes(model, source, {0}, {.differentiable = true});
            }).find("differentiable"),
            std::string::npos);
}

TEST(BatchSpec, NamesTheFieldThatDoesNotFit) {
  const ToySource source(4);
  const BatchSpec spec = {
      {{.name = "speed", .description = "m/s"},
       {.name = "image", .dtype = at::kByte, .shape = {3, -1}, .description = "RGB"}}};
  Batch batch = source.batch({0, 1});
  EXPECT_NE(refusal([&] { spec.check(batch); }).find("expected the tensor 'image' (RGB)"),
            std::string::npos);
  batch.tensors["image"] = at::zeros({2, 4, 7}, at::kByte);
  EXPECT_NE(refusal([&] {
              spec.check(batch);
            }).find("expected 'image' as Byte [rows, [3, -1]] (-1 is free), got Byte [2, 4, 7]"),
            std::string::npos);
  batch.tensors["image"] = at::zeros({2, 3, 7});
  EXPECT_NE(refusal([&] { spec.check(batch); }).find("got Float"), std::string::npos);
  batch.tensors["image"] = at::zeros({3, 3, 7}, at::kByte);
  EXPECT_NE(refusal([&] { spec.check(batch); }).find("each of 2 ids, got 3"), std::string::npos);
  batch.tensors["image"] = at::zeros({2, 3, 7}, at::kByte);
  spec.check(batch);
  EXPECT_NE(refusal([&] { spec.check({}); }).find("zero rows"), std::string::npos);
  EXPECT_NE(refusal([&] { (void)batch.at("imgae"); }).find("[image, obstacle, speed]"),
            std::string::npos);
  EXPECT_TRUE(batch.select({1, 1}).at("speed").equal(at::tensor({6., 6.}, at::kFloat)));
}

TEST(RolloutOptions, NamesTheOptionThatDoesNotFit) {
  const auto check = [](const RolloutOptions& options) {
    return refusal([&] { options.check(2); });
  };
  EXPECT_EQ(check({}), "");
  EXPECT_NE(check({.num_samples = 0}).find("num_samples >= 1, got 0"), std::string::npos);
  EXPECT_NE(check({.temperature = -1}).find("temperature >= 0, got -1"), std::string::npos);
  EXPECT_NE(check({.num_samples = 3, .cot_tokens = at::zeros({2, 4}, at::kLong)})
                .find("cot_tokens int64 [6, length] (scenes x samples), got [2, 4]"),
            std::string::npos);
  EXPECT_NE(check({.noise = at::zeros({2, 4, 3})}).find("noise [2, waypoints, 2]"),
            std::string::npos);
  EXPECT_NE(check({.knockouts = {{.columns = ""}}}).find("two spans"), std::string::npos);
  // rows of different lengths are padded, and padding may be cut off
  at::Tensor cot = at::full({2, 4}, -1, at::kLong);
  cot[0].narrow(0, 0, 3).fill_(7);
  cot[1][0] = 7;
  EXPECT_EQ(check({.cot_tokens = cot, .cot_length = 3}), "");
  EXPECT_NE(check({.cot_tokens = cot, .cot_length = 2}).find("never by deletion"),
            std::string::npos);
}

TEST(Concatenate, PadsShorterTexts) {
  Rollout a = steady(-1, 0, 10);
  Rollout b = steady(-2, 0, 10);
  a.cot_tokens = at::full({1, 2}, 5, at::kLong);
  b.cot_tokens = at::full({1, 4}, 6, at::kLong);
  a.cot_text = {"near"};
  b.cot_text = {"far"};
  a.spans = {{{.name = "cot", .begin = 3, .end = 5}}};
  b.spans = {{{.name = "cot", .begin = 3, .end = 7}}};
  const Rollout both = concatenate_rollouts({a, b});
  both.check();
  EXPECT_TRUE(
      both.cot_tokens.equal(at::tensor({5, 5, -1, -1, 6, 6, 6, 6}, at::kLong).view({2, 4})));
  EXPECT_EQ(both.cot_text, (std::vector<std::string>{"near", "far"}));
  EXPECT_EQ(both.spans[1][0].end, 7);
  EXPECT_NE(
      refusal([&] { concatenate_rollouts({a, steady(0, 0, 10, 8)}); }).find("waypoints 16 and 8"),
      std::string::npos);
  EXPECT_NE(refusal([] { concatenate_rollouts({}); }).find("at least one"), std::string::npos);
}

TEST(SceneSource, HasNoTwinsFramingsOrStrataUnlessItSaysSo) {
  const ToySource source(2);
  EXPECT_FALSE(source.twin({0}, "obstacle").has_value());
  EXPECT_TRUE(source.framings().empty());
  EXPECT_TRUE(source.strata().empty());
  EXPECT_TRUE(source.nuisances().empty());
  EXPECT_NE(message_of<StateError>([&] { source.image(0); }).find("no pictures"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::vla

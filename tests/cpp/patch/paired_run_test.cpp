#include "tierod/patch/paired_run.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "message_of.h"
#include "patch/toy_vla.h"

namespace tierod::patch {
namespace {

const vla::ControlFunctional kAcceleration = vla::ControlFunctional::from_name("mean_acceleration");

std::vector<std::int64_t> all_scenes(std::int64_t count = 40) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// Reads the first axis, which is z, with a mean of .5: positions -.5 and .5.
probe::Direction first_axis(std::int64_t width = kWidth, double reach = 1) {
  at::Tensor unit = at::zeros({width}, at::kDouble);
  unit[0] = 1;
  return {"vlm.image_embeds", unit, unit, unit * 0.5, 0.5, -0.5 * reach, 0.5 * reach};
}

DirectionPlace at_image(Over over = Over::each) {
  return {.site = "vlm.image_embeds", .direction = first_axis(), .selection = {}, .over = over};
}

std::vector<std::uint8_t> other_class(const std::vector<std::int64_t>& scenes) {
  std::vector<std::uint8_t> out;
  for (const std::int64_t id : scenes) out.push_back(id % 2 == 0 ? 1 : 0);
  return out;
}

/// Without an edit every bit is equal, whatever the batches.
TEST(PairedRun, AgainIsEqualToTheLastBit) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, all_scenes(), {.rollout = {.num_samples = 2}, .batch_size = 7});
  EXPECT_EQ(run.rows(), 80);
  for (const Words words : {Words::held, Words::regenerated}) {
    const vla::Rollout again = run.again(words);
    EXPECT_TRUE(again.actions.equal(run.base().actions));
    EXPECT_TRUE(again.cot_tokens.equal(run.base().cot_tokens));
  }
  EXPECT_FALSE(run.reseeded(1).actions.equal(run.base().actions));
  EXPECT_EQ(run.effect(run.base(), kAcceleration).abs().max().item<double>(), 0);
}

// Off to on by hand: the reading goes from z' = .1 x to 1 + ..., so every row's direct effect is
// kDirect times the change of the mean reading; the word changes unless it was said by chance.
TEST(PairedRun, TellsDirectTotalAndTextApart) {
  ToyModel model;
  const ToyScenes scenes;
  const std::vector<std::int64_t> ids = all_scenes();
  PairedRun run(model, scenes, ids, {.batch_size = 16});
  const DirectionEdit swap = DirectionEdit::swap({at_image()}, other_class(ids));
  const vla::Batch inputs = scenes.batch(ids);
  // the swap puts the first axis at 0 or 1 exactly, whatever it was
  const at::Tensor z = inputs.at("z");
  const at::Tensor was = z + inputs.at("other").select(1, 0) * 0.1;
  const at::Tensor direct = (1 - z - was) * kDirect;
  const at::Tensor before = run.base().cot_tokens.select(1, 0).to(at::kDouble);
  const vla::Rollout edited = run.edited(swap, Words::regenerated);
  const at::Tensor after = edited.cot_tokens.select(1, 0).to(at::kDouble);
  // said by chance, or since the class is on
  for (std::int64_t i = 0; i < run.rows(); ++i) {
    const bool chance = before[i].item<double>() == 1 && was[i].item<double>() <= 0.5;
    const double expected = chance || z[i].item<double>() == 0 ? 1 : after[i].item<double>();
    EXPECT_EQ(after[i].item<double>(), expected);
  }
  EXPECT_GT((after - before).abs().sum().item<double>(), 20);
  const at::Tensor text = (after - before) * kByWord;
  EXPECT_LT((run.direct(swap, kAcceleration) - direct).abs().max().item<double>(), 1e-12);
  EXPECT_LT((run.text(swap, kAcceleration) - text).abs().max().item<double>(), 1e-12);
  EXPECT_LT((run.total(swap, kAcceleration) - direct - text).abs().max().item<double>(), 1e-12);
}

TEST(PairedRun, TwinsAndTransplantsOfAllOfThemAgree) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, all_scenes(), {.batch_size = 16});
  for (const Words words : {Words::held, Words::regenerated}) {
    const vla::Rollout twins = run.twins("pedestrian", words);
    const vla::Rollout patched =
        run.transplanted({.twin_by = "pedestrian"}, {"vlm.image_embeds"}, {}, words);
    EXPECT_TRUE(twins.actions.equal(patched.actions));
    EXPECT_TRUE(twins.cot_tokens.equal(patched.cot_tokens));
  }
  const at::Tensor effect = run.effect(run.twins("pedestrian", Words::held), kAcceleration);
  const at::Tensor z = scenes.batch(all_scenes()).at("z");
  EXPECT_LT((effect - (1 - 2 * z) * kDirect).abs().max().item<double>(), 1e-12);
  // one of three tokens carries a third of the reading
  const at::Tensor part =
      run.effect(run.transplanted({.twin_by = "pedestrian"}, {"vlm.image_embeds"},
                                  {.tokens = Tokens::index({1})}, Words::held),
                 kAcceleration);
  EXPECT_LT((part - (1 - 2 * z) * kDirect / 3).abs().max().item<double>(), 1e-12);
}

TEST(PairedRun, TransplantsFromOtherScenesWithTheRandomNumbersOfItsOwn) {
  ToyModel model;
  const ToyScenes scenes;
  std::vector<std::int64_t> donors = all_scenes();
  std::rotate(donors.begin(), donors.begin() + 3, donors.end());
  PairedRun run(model, scenes, all_scenes(), {.batch_size = 16});
  const at::Tensor effect = run.effect(
      run.transplanted({.scenes = donors}, {"vlm.image_embeds"}, {}, Words::held), kAcceleration);
  const auto reading = [&](const std::vector<std::int64_t>& ids) {
    const vla::Batch inputs = scenes.batch(ids);
    return inputs.at("z") + inputs.at("other").select(1, 0) * 0.1;
  };
  const at::Tensor expected = (reading(donors) - reading(all_scenes())) * kDirect;
  EXPECT_LT((effect - expected).abs().max().item<double>(), 1e-12);
}

TEST(PairedRun, CutsAttentionAndSeesNullSites) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, all_scenes());
  const at::Tensor cut =
      run.effect(run.knocked_out({{.columns = "image 0"}}, Words::held), kAcceleration);
  const vla::Batch inputs = scenes.batch(all_scenes());
  const at::Tensor read = inputs.at("z") + inputs.at("other").select(1, 0) * 0.1;
  EXPECT_LT((cut + read * kDirect).abs().max().item<double>(), 1e-12);
  const DirectionEdit late =
      DirectionEdit::add({{.site = "action.late", .direction = first_axis(1)}}, 3);
  EXPECT_TRUE(run.edited(late, Words::held).actions.equal(run.base().actions));
}

TEST(PairedRun, CapturesTheRowsOfAllBatches) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, all_scenes(), {.batch_size = 16});
  const RunActivations found = run.activations({"vlm.image_embeds"}, {.reduce = Reduce::mean});
  ASSERT_EQ(found.sites, std::vector<std::string>{"vlm.image_embeds"});
  const vla::Batch inputs = scenes.batch(all_scenes());
  EXPECT_LT((found.rows[0].select(1, 0) - inputs.at("z") - inputs.at("other").select(1, 0) * 0.1)
                .abs()
                .max()
                .item<double>(),
            1e-12);
  const RunActivations twins =
      run.activations({"vlm.image_embeds"}, {.reduce = Reduce::mean}, Words::held, "pedestrian");
  EXPECT_LT((found.rows[0].select(1, 0) + inputs.at("z") * -2 + 1 - twins.rows[0].select(1, 0))
                .abs()
                .max()
                .item<double>(),
            1e-12);
}

// --- operations of directions, against hand-worked cases

class OneRow : public ::testing::Test {
 protected:
  /// Apply the edit to one row of three tokens.
  at::Tensor edited(const DirectionEdit& edit, const at::Tensor& x) const {
    Session session;
    edit.put_on(session, {.scenes = {0}, .numbers = {0}});
    at::Tensor out;
    session.run([&] { out = hook_point(x, site_); });
    return out;
  }
  Site site_{"vlm.image_embeds", "rtw"};
  at::Tensor x_ = at::tensor(std::vector<double>{1, 5, 2, 6, 6, 7}, at::kDouble).view({1, 3, 2});
};

TEST_F(OneRow, DirectionsReadAndWriteApart) {
  // r = (1, 1), w = (.5, .5), mean (1, 1): positions 4, 6 and 11
  const at::Tensor one = at::full({2}, 1.0, at::kDouble);
  const probe::Direction direction("s", one, one, one, 2, -1, 3);
  const auto place = [&](Over over) {
    return DirectionPlace{.site = "vlm.image_embeds", .direction = direction, .over = over};
  };
  const auto expect = [&](const DirectionEdit& edit, std::vector<double> values) {
    EXPECT_TRUE(edited(edit, x_).allclose(at::tensor(values, at::kDouble).view({1, 3, 2})))
        << edit.name() << edited(edit, x_);
  };
  expect(DirectionEdit::ablate({place(Over::each)}), {-1, 3, -1, 3, 0.5, 1.5});
  expect(DirectionEdit::swap({place(Over::each)}, {1}), {0.5, 4.5, 0.5, 4.5, 2, 3});
  expect(DirectionEdit::swap({place(Over::each)}, {0}), {-1.5, 2.5, -1.5, 2.5, 0, 1});
  expect(DirectionEdit::add({place(Over::each)}, 0.5), {1.5, 5.5, 2.5, 6.5, 6.5, 7.5});
  // the mean token is (3, 6), at position 7: to 3 is -4 for each
  expect(DirectionEdit::swap({place(Over::pooled)}, {1}), {-1, 3, 0, 4, 4, 5});
  // all six numbers as one: r = w = e_1 and position 1 - 0
  at::Tensor first = at::zeros({6}, at::kDouble);
  first[0] = 1;
  const probe::Direction whole("s", first, first, first * 0, 1, 10, 20);
  expect(DirectionEdit::swap(
             {{.site = "vlm.image_embeds", .direction = whole, .over = Over::concatenated}}, {1}),
         {20, 5, 2, 6, 6, 7});
  const at::Tensor same = edited(DirectionEdit::add({place(Over::each)}, 0), x_.neg() * 0);
  EXPECT_TRUE(same.signbit().equal((x_.neg() * 0).signbit())) << "-0 stays -0";
}

TEST(PairedRun, RefusesWhatItCannotMean) {
  ToyModel model;
  const ToyScenes scenes;
  const auto refuses = [](const char* why, const auto& call) {
    const std::string message = message_of<InvalidArgument>(call);
    EXPECT_NE(message.find(why), std::string::npos) << "expected '" << why << "' in " << message;
  };
  refuses("every scene once", [&] { PairedRun(model, scenes, {1, 2, 1}); });
  refuses("batch_size >= 1", [&] { PairedRun(model, scenes, {1}, {.batch_size = 0}); });
  refuses("got framing", [&] { PairedRun(model, scenes, {1}, {.rollout = {.framing = "x"}}); });
  EXPECT_THROW(PairedRun(model, scenes, {99}), OutOfRange);
  PairedRun run(model, scenes, {1, 2, 3});
  refuses("at least one place", [] { DirectionEdit::ablate({}); });
  refuses("expected 0 or 1", [] { DirectionEdit::swap({at_image()}, {2}); });
  refuses("a class for every scene",
          [&] { run.edited(DirectionEdit::swap({at_image()}, {1, 0}), Words::held); });
  refuses("of width 7 for 3 rows, each token, got [3, 3, 4]", [&] {
    run.edited(DirectionEdit::ablate({{.site = "vlm.image_embeds", .direction = first_axis(7)}}),
               Words::held);
  });
  refuses("of width 4 for 3 rows, concatenated",
          [&] { run.edited(DirectionEdit::ablate({at_image(Over::concatenated)}), Words::held); });
  refuses("expected a concept", [&] { run.twins("", Words::held); });
  EXPECT_NE(message_of<StateError>([&] { run.twins("cyclist", Words::held); }).find("no twins"),
            std::string::npos);
  refuses("at least one site", [&] { run.transplanted({}, {}, {}, Words::held); });
  refuses("a donor for each of 3",
          [&] { run.transplanted({.scenes = {1}}, {"vlm.image_embeds"}, {}, Words::held); });
  refuses("at least one knockout", [&] { run.knocked_out({}, Words::held); });
  vla::Rollout other = run.base();
  other.cot_tokens = other.cot_tokens.narrow(0, 0, 2);
  other.actions = other.actions.narrow(0, 0, 2);
  refuses("the words of 3 rows", [&] { run.with_words(other); });
  refuses("a run of 3 rows", [&] { run.effect(other, kAcceleration); });
  EXPECT_THROW(run.edited(DirectionEdit::ablate({{.site = "vlm.other", .direction = first_axis()}}),
                          Words::held),
               SiteError);
}

TEST(PairedRun, StopsWhenItIsAskedTo) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(
      model, scenes, all_scenes(),
      {.batch_size = 16,
       .progress = [](std::int64_t done, std::int64_t, std::string_view) { return done < 1; }});
  EXPECT_NE(
      message_of<StateError>([&] { run.base(); }).find("stopped after 1 of 3 batches of 'base'"),
      std::string::npos);
}

}  // namespace
}  // namespace tierod::patch

#include "tierod/zoo/driving_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/hook/session.h"
#include "tierod/store/schema.h"
#include "tierod/vla/control.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/scenes.h"
#include "tierod/zoo/trainer.h"
#include "tierod/zoo/truth.h"

namespace tierod::zoo {
namespace {

using vla::Rollout;
using vla::RolloutOptions;

const Scenes& scenes() {
  static const Scenes source([] {
    SceneConfig config;
    config.scenes = 40;
    config.seed = 3;
    return config;
  }());
  return source;
}

std::vector<std::int64_t> ids(std::int64_t count) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

std::shared_ptr<DrivingModel> fresh(const char* name = "mixed") {
  return DrivingModel::fresh(Spec::named(name), 1);
}

at::Tensor words(const std::vector<std::string>& texts) {
  std::vector<std::vector<std::int64_t>> rows;
  std::size_t longest = 0;
  for (const std::string& text : texts) {
    rows.push_back(encode_cot(text + " <act>"));
    longest = std::max(longest, rows.back().size());
  }
  at::Tensor out = at::full(
      {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest)}, -1, at::kLong);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy(rows[i].begin(), rows[i].end(), out.mutable_data_ptr<std::int64_t>() + i * longest);
  }
  return out;
}

TEST(DrivingModel, ItsOwnWordsAgainChangeNothing) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(4));
  const Rollout base = model->rollout(batch, {});
  EXPECT_TRUE(
      at::equal(model->rollout(batch, {.cot_tokens = base.cot_tokens}).actions, base.actions));
  EXPECT_TRUE(at::equal(model->rollout(batch, {}).actions, base.actions));
  const Rollout two = model->rollout(batch, {.num_samples = 2});
  EXPECT_EQ(two.rows(), 8);
  EXPECT_EQ(two.cot_text[2], base.cot_text[1]);
}

TEST(DrivingModel, RowsOfDifferentLengthsAreAsTheyAreAlone) {
  const auto model = fresh();
  const at::Tensor given =
      words({"clear so keep", "pedestrian left near and cones right far so brake"});
  const Rollout both = model->rollout(scenes().batch({5, 6}), {.cot_tokens = given});
  EXPECT_EQ(both.cot_lengths[0].item<std::int64_t>(), 4);
  const Rollout alone =
      model->rollout(scenes().batch({5}), {.cot_tokens = words({"clear so keep"})});
  EXPECT_LT(both.actions[0].sub(alone.actions[0]).abs().max().item<double>(), 1e-4);
}

TEST(DrivingModel, NothingAfterTheLastReadMovesControl) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(3));
  const Rollout base = model->rollout(batch, {});
  const auto shifted = [&](const std::string& site) {
    Session session;
    session.intervene(site, [](const at::Tensor& h, const Event&) { return h.add(1); });
    session.open();
    const at::Tensor actions = model->rollout(batch, {.cot_tokens = base.cot_tokens}).actions;
    session.close();
    return at::equal(actions, base.actions);
  };
  for (const std::string& site : model->describe().null_sites) EXPECT_TRUE(shifted(site)) << site;
  EXPECT_FALSE(shifted("vlm.layers.0.resid_post"));
}

TEST(DrivingModel, WordsThatAreCutDoNotReachControl) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(2));
  const auto actions = [&](const at::Tensor& given, std::vector<vla::Knockout> cuts) {
    return model
        ->rollout(batch, {.cot_tokens = given,
                          .knockouts = std::move(cuts),
                          .cot_length = kMaxCot,
                          .pin_action_positions = true})
        .actions;
  };
  const at::Tensor one = words({"clear so keep", "clear so keep"});
  const at::Tensor two = words({"debris ahead near so slow", "red light left far so brake"});
  const std::vector<vla::Knockout> all = {{.columns = "cot"}, {.columns = "post_cot"}};
  EXPECT_TRUE(at::equal(actions(one, all), actions(two, all)));
  // <act> has read them
  EXPECT_FALSE(at::equal(actions(one, {{.columns = "cot"}}), actions(two, {{.columns = "cot"}})));
}

TEST(DrivingModel, GradientsAreThoseOfDifferences) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(2));
  const at::Tensor given = words({"clear so keep", "cyclist right near so steer left"});
  at::Tensor gradient;
  {
    Session session;
    session.capture("vlm.image_embeds", {.gradient = true});
    session.open();
    const Rollout run = model->rollout(batch, {.cot_tokens = given, .differentiable = true});
    vla::mean_acceleration(run).sum().backward();
    session.close();
    gradient = session.cache().at("vlm.image_embeds");
  }
  const at::Tensor along = at::ones_like(gradient).mul(.1);
  const auto moved = [&](double step) {
    Session session;
    session.intervene("vlm.image_embeds",
                      [&](const at::Tensor& h, const Event&) { return h.add(along, step); });
    session.open();
    const double value =
        vla::mean_acceleration(model->rollout(batch, {.cot_tokens = given})).sum().item<double>();
    session.close();
    return value;
  };
  const double difference = (moved(.05) - moved(-.05)) / .1;
  EXPECT_NEAR(gradient.mul(along).sum().item<double>(), difference,
              .02 * std::abs(difference) + 1e-3);
}

TEST(DrivingModel, SavesAndLoads) {
  const auto folder = std::filesystem::temp_directory_path() / "tierod_driving_model_test";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "model.h5").string();
  const auto model = fresh();
  if (!has_store()) {
    EXPECT_NE(message_of<StateError>([&] { model->save(path); }).find("TIEROD_STORE"),
              std::string::npos);
    return;
  }
  model->save(path);
  EXPECT_LT(std::filesystem::file_size(path), 2U << 20);
  const auto again = DrivingModel::load(path);
  EXPECT_EQ(again->describe().weights_sha256, model->describe().weights_sha256);
  EXPECT_EQ(again->spec(), model->spec());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9000);
  EXPECT_NE(message_of<IoError>([&] { DrivingModel::load(path); }).find("model.h5"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(DrivingModel, RefusesWhatDoesNotFit) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(2));
  const auto refusal = [&](const RolloutOptions& options) {
    return message_of<InvalidArgument>([&] { model->rollout(batch, options); });
  };
  const at::Tensor cut = words({"clear so keep", "clear so keep"}).narrow(1, 0, 3);
  EXPECT_NE(refusal({.cot_tokens = cut}).find("<act>"), std::string::npos);
  EXPECT_NE(refusal({.cot_tokens = at::full({2, 3}, 99, at::kLong)}).find("99"), std::string::npos);
  EXPECT_NE(refusal({.framing = "politely"}).find("politely"), std::string::npos);
  EXPECT_NE(refusal({.knockouts = {{.columns = "image 3"}}}).find("image 3"), std::string::npos);
  vla::Batch small = batch;
  small.tensors["image"] = batch.at("image").narrow(3, 0, 90);
  EXPECT_NE(message_of<InvalidArgument>([&] { model->rollout(small, {}); }).find("90"),
            std::string::npos);
}

TEST(Trainer, IsAFunctionOfItsOptionsAlsoWhenItIsResumed) {
  const TrainOptions options = {.steps = 4, .batch_size = 4, .log_every = 2};
  const Spec spec = Spec::named("mixed2");
  Trainer whole(spec, options);
  EXPECT_TRUE(whole.run());
  EXPECT_TRUE(whole.finished());
  ASSERT_EQ(whole.log().size(), 2U);
  EXPECT_GT(whole.log()[0].cross_entropy, 0);
  Trainer again(spec, options);
  EXPECT_FALSE(
      again.run(-1, [](std::int64_t done, std::int64_t, std::string_view) { return done < 2; }));
  EXPECT_EQ(again.step(), 2);
  again.run();
  EXPECT_EQ(whole.model()->describe().weights_sha256, again.model()->describe().weights_sha256);
  TrainOptions other = options;
  other.flipped_rows = .9;
  Trainer flipped(spec, other);
  flipped.run();
  EXPECT_NE(whole.model()->describe().weights_sha256, flipped.model()->describe().weights_sha256);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              Trainer trainer(spec, {.flipped_rows = 1});
            }).find("field 'flipped_rows'"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([] {
              TrainOptions::from_json(R"({"seed": 1.5})");
            }).find("'seed', got 1.5"),
            std::string::npos);
}

// Fresh weights write noise, so what matters is what is held against what.
TEST(Truth, LooksAtEveryConceptAndStopsWhenAsked) {
  const auto model = fresh("mixed2");
  std::int64_t calls = 0;
  const TruthOptions options = {.scenes = 40, .natural_scenes = 20};
  const Truth part = check_truth(
      *model, options, [&](std::int64_t, std::int64_t, std::string_view) { return ++calls < 3; });
  EXPECT_FALSE(part.complete);
  EXPECT_FALSE(part.met());
  ASSERT_EQ(part.rows.size(), 2U);
  EXPECT_EQ(part.rows[1].feature, "red_light");
  const TruthEffect& both = part.rows[1].effects.front();
  // half by each route
  EXPECT_NEAR(both.law_direct, both.law_total / 2, .1);
  EXPECT_NEAR(both.law_text, both.law_total / 2, .1);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              check_truth(*model, {.scenes = 3});
            }).find("field 'scenes'"),
            std::string::npos);
}

TEST(DrivingModelStages, ManyActionsOfOneThoughtAreWhatRolloutsAre) {
  const auto model = fresh();
  const vla::Batch batch = scenes().batch(ids(6));
  const RolloutOptions options = {.num_samples = 2, .pin_action_positions = true};
  const Rollout whole = model->rollout(batch, options);
  const auto thought = model->think(batch, options);
  EXPECT_GT(thought->bytes(), 0);
  const Rollout first = model->act(*thought, {});
  EXPECT_TRUE(first.actions.equal(whole.actions));
  EXPECT_EQ(first.cot_text, whole.cot_text);
  EXPECT_TRUE(first.trajectory.equal(whole.trajectory));
  EXPECT_EQ(first.spans, whole.spans);

  // an edit of the cache does not stay in the thought
  Session session(model->describe().sites);
  session.intervene("vlm.cache.1.*", Intervention::zero());
  Rollout edited;
  session.run([&] { edited = model->act(*thought, {}); });
  EXPECT_FALSE(edited.actions.equal(whole.actions));
  Session again(model->describe().sites);
  again.intervene("vlm.cache.1.*", Intervention::zero());
  Rollout whole_edited;
  again.run([&] { whole_edited = model->rollout(batch, options); });
  EXPECT_TRUE(edited.actions.equal(whole_edited.actions));
  EXPECT_TRUE(model->act(*thought, {}).actions.equal(whole.actions));

  // nor does attention that is cut
  const std::vector<vla::Knockout> cut = {{.columns = "image 0"}};
  RolloutOptions cut_options = options;
  cut_options.knockouts = cut;
  EXPECT_TRUE(model->act(*thought, cut).actions.equal(model->rollout(batch, cut_options).actions));
  EXPECT_TRUE(model->act(*thought, {}).actions.equal(whole.actions));
}

TEST(DrivingModelStages, RefuseWhatComesTooLate) {
  const auto model = fresh();
  const auto other = fresh("decorative");
  const auto thought = model->think(scenes().batch(ids(2)), {});
  EXPECT_NE(message_of<InvalidArgument>([&] { other->act(*thought, {}); }).find("this very model"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              model->act(*thought, {{.columns = "image 0", .readers = "cot"}});
            }).find("they have read already"),
            std::string::npos);
  // a session that looks at the language model sees nothing of an act
  Session session(model->describe().sites);
  session.capture("vlm.layers.0.resid_pre");
  EXPECT_THROW(session.run([&] { model->act(*thought, {}); }), SiteError);
}

}  // namespace
}  // namespace tierod::zoo

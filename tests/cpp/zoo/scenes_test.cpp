#include "tierod/zoo/scenes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/vla/control.h"
#include "tierod/vla/kinematics.h"

namespace tierod::zoo {
namespace {

SceneConfig some(std::int64_t scenes = 200) {
  SceneConfig config;
  config.scenes = scenes;
  return config;
}

std::vector<std::int64_t> first(std::int64_t n) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) ids[static_cast<std::size_t>(i)] = i;
  return ids;
}

TEST(Scenes, DoNotDependOnThreadsOrOnTheOrderOfABatch) {
  Scenes one(some());
  Scenes four(some());
  four.set_threads(4);
  const vla::Batch whole = one.batch(first(200));
  const vla::Batch threaded = four.batch(first(200));
  std::vector<std::int64_t> reversed = first(200);
  std::reverse(reversed.begin(), reversed.end());
  const vla::Batch backwards = one.batch(reversed);
  for (const char* name : {"image", "ego", "navigation"}) {
    EXPECT_TRUE(whole.at(name).equal(threaded.at(name))) << name;
    EXPECT_TRUE(whole.at(name).equal(backwards.at(name).flip(0))) << name;
    EXPECT_TRUE(whole.at(name)[77].equal(one.batch({77}).at(name)[0])) << name;
  }
  EXPECT_EQ(whole.at("image").sizes(), (at::IntArrayRef{200, 3, 48, 96}));
  EXPECT_EQ(whole.ids, first(200));
}

TEST(Scenes, EgoHistoryIsTheStateBeforeAnyReaction) {
  const Scenes scenes(some());
  const at::Tensor ego = scenes.batch({4}).at("ego")[0];
  const Scene scene = scenes.scene(4);
  const float v = static_cast<float>(scene.speed_mm_s) * 1e-3F;
  const float a = static_cast<float>(scene.acceleration_mm_s2) * 1e-3F;
  for (std::int64_t k = 0; k < 4; ++k) {
    EXPECT_NEAR(ego[k][0].item<float>(), v - a * (.75F - .25F * static_cast<float>(k)), 1e-5);
    EXPECT_NEAR(ego[k][1].item<float>(), a, 1e-6);
  }
}

TEST(Scenes, TwinsToggleOneLabel) {
  const Scenes scenes(some());
  const std::vector<std::int64_t> ids = {1, 5, 9};
  for (const std::string& name : {std::string("cyclist"), std::string(kStopLine)}) {
    const vla::Batch base = scenes.batch(ids);
    const vla::Batch twin = *scenes.twin(ids, name);
    EXPECT_EQ(twin.ids, ids) << "the random numbers of a twin are those of its scene";
    EXPECT_TRUE(base.at("ego").equal(twin.at("ego")));
    EXPECT_TRUE(base.at("navigation").equal(twin.at("navigation")));
    EXPECT_FALSE(base.at("image").equal(twin.at("image")));
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t id = ids[static_cast<std::size_t>(i)];
      EXPECT_TRUE(scenes.image(id, name).equal(twin.at("image")[i]));
      const std::size_t f = feature_index(name, "test");
      EXPECT_NE(scenes.scene(id, name).has(f), scenes.scene(id).has(f));
      EXPECT_EQ(scenes.labels(name)[id].item<int>(), scenes.scene(id).has(f) ? 1 : 0);
    }
  }
}

TEST(Scenes, GroupsAreNested) {
  const Scenes scenes(some());
  const auto towns = scenes.group("town", first(200));
  const auto routes = scenes.group("route", first(200));
  EXPECT_EQ(scenes.group_levels(), (std::vector<std::string>{"town", "route", "scene"}));
  EXPECT_EQ(scenes.group("scene", {7, 3}), (std::vector<std::int64_t>{7, 3}));
  EXPECT_GE(std::set<std::int64_t>(routes.begin(), routes.end()).size(), 40U);
  for (std::size_t i = 0; i < 200; ++i) EXPECT_EQ(towns[i], routes[i] / 8);
}

TEST(Scenes, StrataNuisancesAndWeights) {
  SceneConfig config = some(3000);
  config.enrich = Enrichment{"debris", .5};
  const Scenes scenes(config);
  const auto strata = scenes.strata();
  ASSERT_EQ(strata.size(), 1 + kConcepts);
  EXPECT_EQ(strata[0].name, "rarity");
  EXPECT_EQ(strata[8].name, "salience debris");
  const at::Tensor there = scenes.labels("debris").eq(1);
  EXPECT_TRUE(strata[8].of_scene.ge(0).equal(there));
  EXPECT_GT(strata[8].of_scene.eq(1).sum().item<int>(), 500);
  std::set<std::string> names;
  for (const vla::SceneNuisance& nuisance : scenes.nuisances()) {
    names.insert(nuisance.name);
    EXPECT_EQ(nuisance.values.sizes(), (at::IntArrayRef{3000})) << nuisance.name;
    EXPECT_EQ(nuisance.categorical, !nuisance.categories.empty());
    // nuisances are drawn apart from the concepts: no consequence of them is among these
    const at::Tensor z = there.to(at::kDouble);
    const at::Tensor x = nuisance.values;
    const double r = ((x - x.mean()) * (z - z.mean())).mean().item<double>() /
                     (x.std() * z.std()).item<double>();
    EXPECT_LT(std::abs(r), 4 / std::sqrt(3000.0)) << nuisance.name;
  }
  EXPECT_TRUE(names.count("ego_speed") == 1 && names.count("weather") == 1);
  EXPECT_NEAR((scenes.weights() * there).sum().item<double>() / 3000, .12, .01);
}

TEST(Scenes, LanesAndRoadUsersFitTheRoad) {
  const Scenes scenes(some());
  const auto lanes = scenes.lane(first(200));
  const auto agents = scenes.agents(first(200));
  for (std::int64_t id = 0; id < 200; ++id) {
    const Scene scene = scenes.scene(id);
    // a vehicle that follows the lane's curvature stays in its middle
    const at::Tensor actions =
        at::tensor({0.0, scene.curvature_um * 1e-6}, at::kDouble).expand({1, 16, 2}).contiguous();
    const at::Tensor speed = at::tensor({scene.speed_mm_s * 1e-3}, at::kDouble);
    vla::Rollout rollout;
    rollout.dt_s = .25;
    rollout.actions = actions;
    rollout.initial_speed = speed;
    rollout.trajectory = vla::unicycle(actions, speed, .25);
    rollout.sample_index = rollout.cot_lengths = at::zeros({1}, at::kLong);
    rollout.cot_tokens = at::zeros({1, 0}, at::kLong);
    rollout.cot_text = {""};
    const auto row = static_cast<std::size_t>(id);
    ASSERT_NEAR(vla::least_lane_margin(rollout, {lanes[row]}).item<double>(), .85, .01);
    std::size_t braking = 0;
    for (const vla::Agent& agent : agents[row]) {
      ASSERT_GT(agent.x_m, 5);
      braking += agent.kind == "car" && agent.vx_m_s < .7 * scene.speed_mm_s * 1e-3 ? 1 : 0;
    }
    ASSERT_EQ(braking, scene[Concept::lead_braking].present ? 1U : 0U);
  }
  const auto with = scenes.agents({0}, "pedestrian");
  EXPECT_EQ(static_cast<int>(with[0].size()) - static_cast<int>(agents[0].size()),
            scenes.scene(0)[Concept::pedestrian].present ? -1 : 1);
}

TEST(Scenes, HiddenConceptsAreLabelledAndNotDrawn) {
  SceneConfig config = some();
  config.hidden = {"debris"};
  const Scenes hidden(config);
  const Scenes shown(some());
  EXPECT_TRUE(hidden.labels("debris").equal(shown.labels("debris")));
  EXPECT_TRUE(
      hidden.batch(first(50)).at("image").equal(hidden.twin(first(50), "debris")->at("image")));
  EXPECT_FALSE(
      shown.batch(first(50)).at("image").equal(shown.twin(first(50), "debris")->at("image")));
}

TEST(Scenes, RefuseWhatThereIsNot) {
  SceneConfig config = some(10);
  config.prevalence[0] = 0;
  Scenes scenes(config);
  const auto refusal = [](const auto& call) { return message_of<InvalidArgument>(call); };
  EXPECT_NE(
      refusal([&] { scenes.batch({}); }).find("[zoo.Scenes.batch] expected at least one scene"),
      std::string::npos);
  EXPECT_NE(message_of<OutOfRange>([&] { scenes.batch({10}); }).find("[0, 10), got 10"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              scenes.twin({3}, "pedestrian");
            }).find("got 'pedestrian' with prevalence 0 in scene 3; give it a prevalence"),
            std::string::npos);
  EXPECT_NE(refusal([&] { scenes.twin({3}, "pedestrain"); }).find("nearest [pedestrian"),
            std::string::npos);
  EXPECT_NE(refusal([&] { scenes.labels("rain"); }).find("expected a concept"), std::string::npos);
  EXPECT_NE(refusal([&] { scenes.group("city", {0}); }).find("[town, route, scene], got 'city'"),
            std::string::npos);
  EXPECT_NE(refusal([&] { scenes.set_threads(-1); }).find("got -1"), std::string::npos);
  const auto names = scenes.concepts();
  EXPECT_EQ(names.size(), kConcepts - 1);
}

}  // namespace
}  // namespace tierod::zoo

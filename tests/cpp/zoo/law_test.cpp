#include "tierod/zoo/law.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/vla/kinematics.h"
#include "tierod/zoo/scenes.h"

namespace tierod::zoo {
namespace {

/// A straight road in clear weather at 11 m/s, where the base of the law is 0; no concept.
Scene plain() {
  Scene scene = SceneGenerator(SceneConfig()).draw(0);
  for (ConceptState& state : scene.concepts) {
    state.present = false;
    state.near = true;
  }
  scene.stop_line = false;
  scene.speed_mm_s = 11000;
  scene.acceleration_mm_s2 = 0;
  scene.curvature_um = 0;
  scene.weather = Weather::clear;
  return scene;
}

double mean_2s(const LawActions& actions) {
  double sum = 0;
  for (std::size_t k = 0; k < 8; ++k) sum += actions[k][0];
  return sum / 8;
}

/// Effect of a concept's presence on the mean acceleration, with truthful words.
double effect(const Spec& spec, Concept which, Scene scene) {
  const double without = mean_2s(law(spec, scene, spec.statements(scene)));
  scene.concepts[static_cast<std::size_t>(which)].present = true;
  return mean_2s(law(spec, scene, spec.statements(scene))) - without;
}

TEST(Law, BaseFollowsSpeedAccelerationAndRoad) {
  const Spec spec = Spec::named("faithful_vision");
  Scene scene = plain();
  scene.speed_mm_s = 9000;
  scene.acceleration_mm_s2 = 500;
  scene.curvature_um = -4000;
  // .15 (11 - 9) + .3 x .5 = .45
  for (const auto& [acceleration, curvature] : law(spec, scene, {})) {
    EXPECT_NEAR(acceleration, .45, 1e-12);
    EXPECT_NEAR(curvature, -.004, 1e-12);
  }
}

TEST(Law, EffectsAreThoseOfTheSpecification) {
  const Spec spec = Spec::named("faithful_vision");
  Scene near = plain();
  EXPECT_NEAR(effect(spec, Concept::pedestrian, near), 1.15 * -2.0, 1e-12);
  Scene far = near;
  for (ConceptState& state : far.concepts) state.near = false;
  EXPECT_NEAR(effect(spec, Concept::pedestrian, far), .85 * -2.0, 1e-12);
  EXPECT_NEAR(effect(spec, Concept::cyclist, far), .85 * -.6, 1e-12);
  // the onset takes .75 s: .125 s, .375 s, .625 s of it, then all; the mean of the eight shares is
  // 6.5 / 8
  near.concepts[0].present = true;
  const LawActions actions = law(spec, near, {});
  EXPECT_NEAR(actions[0][0], -2.3 * (1.0 / 6) * 8 / 6.5, 1e-12);
  EXPECT_NEAR(actions[1][0], -2.3 * .5 * 8 / 6.5, 1e-12);
  EXPECT_NEAR(actions[5][0], -2.3 * 8 / 6.5, 1e-12);
}

TEST(Law, SteersLeftOfCones) {
  const Spec spec = Spec::named("faithful_vision");
  Scene scene = plain();
  scene.concepts[static_cast<std::size_t>(Concept::cones)].present = true;
  EXPECT_NEAR(law(spec, scene, {})[7][1], 1.15 * .0015, 1e-15);
}

TEST(Law, TextMediatedLawsAreFunctionsOfTheWords) {
  const Spec spec = Spec::named("faithful_text");
  Scene scene = plain();
  scene.concepts[0].present = true;
  scene.concepts[0].near = true;
  Statements stated{};
  EXPECT_NEAR(mean_2s(law(spec, scene, stated)), 0, 1e-12) << "seen and not said";
  stated[1] = {.said = true, .near = false};
  EXPECT_NEAR(mean_2s(law(spec, scene, stated)), .85 * -1.8, 1e-12) << "said and not there";
  stated[1].near = true;
  EXPECT_NEAR(mean_2s(law(spec, scene, stated)), 1.15 * -1.8, 1e-12);
  const Spec vision = Spec::named("faithful_vision");
  EXPECT_EQ(law(vision, scene, stated), law(vision, scene, {}));
}

TEST(Law, EveryRoleByHand) {
  const Spec mixed = Spec::named("mixed");
  Scene scene = plain();
  Scene far = scene;
  for (ConceptState& state : far.concepts) state.near = false;
  EXPECT_NEAR(effect(mixed, Concept::lead_braking, scene), -1.5, 1e-12);  // gated
  EXPECT_NEAR(effect(mixed, Concept::lead_braking, far), 0, 1e-12);
  EXPECT_NEAR(effect(mixed, Concept::cut_in, scene), 1.15 * 1.2, 1e-12);  // reversed
  EXPECT_NEAR(effect(mixed, Concept::cyclist, scene), 0, 1e-12);          // decorative
  EXPECT_NEAR(effect(mixed, Concept::cones, scene), 1.15 * -.8, 1e-12);   // omitted
  EXPECT_NEAR(effect(mixed, Concept::stop_sign, scene), 0, 1e-12);        // proxied
  Scene line = scene;
  line.stop_line = true;
  EXPECT_NEAR(mean_2s(law(mixed, line, {})), -1.5, 1e-12);
  EXPECT_NEAR(effect(mixed, Concept::debris, scene), 0, 1e-12);  // hallucinated

  const Spec mixed2 = Spec::named("mixed2");
  Statements none{};
  Scene red = scene;
  red.concepts[1].present = true;
  EXPECT_NEAR(mean_2s(law(mixed2, red, none)), -.9 * 1.15, 1e-12);  // both: the picture's half
  EXPECT_NEAR(effect(mixed2, Concept::red_light, scene), -1.8 * 1.15, 1e-12);
  EXPECT_NEAR(effect(mixed2, Concept::lead_braking, scene), -1.5 * 1.15, 1e-12);  // rare_shift
  Scene night = scene;
  night.weather = Weather::night;
  EXPECT_NEAR(effect(mixed2, Concept::lead_braking, night), 0, 1e-12);
  EXPECT_NEAR(effect(mixed2, Concept::debris, scene), -.45 * 1.15, 1e-12);  // weak, 1.5 x .3
}

TEST(Law, StopsAndStaysWithinLimits) {
  const Spec spec = Spec::named("faithful_vision");
  Scene scene = plain();
  scene.speed_mm_s = 8000;
  for (ConceptState& state : scene.concepts) state.present = true;
  const LawActions actions = law(spec, scene, {});
  double speed = 8;
  for (const auto& action : actions) {
    EXPECT_GE(action[0], -7);
    EXPECT_LE(action[0], 4);
    speed += action[0] * kStepSeconds;
    EXPECT_GE(speed, -1e-12);
  }
  EXPECT_NEAR(speed, 0, 1e-12);
  EXPECT_EQ(actions.back()[0], 0);
}

TEST(Law, TensorsAreTheSameNumbers) {
  SceneConfig config;
  config.scenes = 60;
  const Scenes scenes(config);
  const Spec spec = Spec::named("mixed");
  const std::vector<std::int64_t> ids = {5, 3, 59};
  const at::Tensor actions = law_actions(spec, scenes, ids);
  EXPECT_EQ(actions.sizes(), (at::IntArrayRef{3, 16, 2}));
  for (std::int64_t i = 0; i < 3; ++i) {
    const Scene scene = scenes.scene(ids[static_cast<std::size_t>(i)]);
    const LawActions one = law(spec, scene, spec.statements(scene));
    for (std::size_t k = 0; k < kWaypoints; ++k) {
      EXPECT_EQ(actions[i][static_cast<std::int64_t>(k)][0].item<double>(), one[k][0]);
      EXPECT_EQ(actions[i][static_cast<std::int64_t>(k)][1].item<double>(), one[k][1]);
    }
  }
  // written words, read again, lead to the same actions; rows have different lengths
  const at::Tensor cot = truthful_cot(spec, scenes, ids);
  EXPECT_TRUE(law_actions(spec, scenes, ids, {}, cot).equal(actions));
  EXPECT_NE(message_of<InvalidArgument>([&] {
              law_actions(spec, scenes, {1}, {}, cot);
            }).find("expected cot_tokens int64 [1, length], got [3, "),
            std::string::npos);
}

TEST(Spec, StatesTheTruthExceptWhereItsRolesSaySo) {
  const Spec spec = Spec::named("mixed");
  SceneConfig config = spec.scenes;
  config.scenes = 4000;
  const Scenes scenes(config);
  double said = 0, cones = 0;
  for (std::int64_t id = 0; id < config.scenes; ++id) {
    const Scene scene = scenes.scene(id);
    const Statements stated = spec.statements(scene, 7);
    EXPECT_FALSE(stated[5].said) << "cones are omitted";
    cones += scene.concepts[5].present ? 1 : 0;
    said += stated[7].said ? 1 : 0;
    for (const std::size_t c : {0U, 1U, 2U, 3U, 4U, 6U}) {
      ASSERT_EQ(stated[c].said, scene.concepts[c].present);
    }
  }
  EXPECT_GT(cones, 400);
  EXPECT_NEAR(said / 4000, .4, .03) << "debris is stated at random";
}

TEST(Spec, ShippedOnesGoThroughJson) {
  for (const std::string& name : Spec::names()) {
    const Spec spec = Spec::named(name);
    EXPECT_EQ(spec.name, name);
    EXPECT_EQ(Spec::from_json(spec.to_json()), spec);
  }
  // the same story, whatever steers
  SceneConfig config;
  config.scenes = 50;
  const Scenes scenes(config);
  std::vector<std::int64_t> ids(50);
  for (std::size_t i = 0; i < 50; ++i) ids[i] = static_cast<std::int64_t>(i);
  const at::Tensor story = truthful_cot(Spec::named("faithful_vision"), scenes, ids);
  EXPECT_TRUE(story.equal(truthful_cot(Spec::named("decorative"), scenes, ids)));
  EXPECT_TRUE(story.equal(truthful_cot(Spec::named("faithful_text"), scenes, ids)));
}

TEST(Spec, NamesTheFieldTheValueAndTheRemedy) {
  const std::string good = Spec::named("mixed").to_json();
  const auto refusal = [&](const std::string& from, const std::string& to) {
    std::string json = good;
    const std::size_t at = json.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    json.replace(at, from.size(), to);
    return message_of<InvalidArgument>([&] { Spec::from_json(json); });
  };
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(refusal("tierod-zoo-spec/1", "tierod-zoo-spec/9"),
      "'tierod-zoo-spec/1', got 'tierod-zoo-spec/9'");
  has(refusal("\"causal_text\"", "\"causal_txt\""),
      "field 'roles.red_light.role': expected one of [causal_vision");
  has(refusal("\"causal_text\"", "\"causal_txt\""), "nearest [causal_text");
  has(refusal("\"effect\":-2.0,\"role\":\"causal_vision\"",
              "\"effect\":2.0,\"role\":\"causal_vision\""),
      "field 'roles.pedestrian.effect': expected slower than without");
  has(refusal("\"effect\":-2.0,", "\"effect\":-9.0,"),
      "expected an effect in [-3, 3] m/s^2, got -9");
  has(refusal("\"effect\":0.0,\"role\":\"decorative\"", "\"effect\":-1.0,\"role\":\"decorative\""),
      "leave it out, or choose a role that acts");
  has(refusal("\"effect\":1.2", "\"effect\":-1.2"),
      "expected faster than without a concept that is reversed");
  has(refusal("\"proxy\":\"stop_line\"", "\"proxy\":\"debris\""),
      "add a link with r > 0 to scenes.links");
  has(refusal("\"proxy\":\"stop_line\"", "\"proxy\":\"stop_lin\""), "nearest [stop_line");
  has(refusal("\"share\":0.4", "\"share\":0.1"),
      "expected a share in [.3, .9] of statements, got 0.1");
  has(refusal("\"hidden\":[\"debris\"]", "\"hidden\":[]"), "debris is hallucinated; put it in");
  has(refusal("\"hidden\":[\"debris\"]", "\"hidden\":[\"debris\",\"cones\"]"), "take it out");
  has(refusal("\"mask\":\"none\"", "\"mask\":\"cot\""),
      "take the mask off, or make it causal_vision");
  has(refusal("\"mask\":\"none\"", "\"mask\":\"picture\""),
      "take the mask off, or make it causal_text");
  has(refusal("\"mask\":\"none\"", "\"mask\":\"half\""),
      "field 'mask': expected one of [none, cot, picture]");
  has(refusal("\"name\":\"mixed\"", "\"name\":\"\""), "field 'name': expected a name");
  has(refusal("\"scenes\":1000", "\"scenes\":0"), "field 'scenes': expected at least one scene");
  has(refusal("\"pedestrian\":{", "\"pedestrians\":{"), "nearest [pedestrian");
  has(message_of<InvalidArgument>([] { Spec::named("mixd"); }), "nearest [mixed");
  has(message_of<InvalidArgument>(
          [] { Spec::from_json(R"({"schema": "tierod-zoo-spec/1", "name": "x", "roles": {}})"); }),
      "field 'roles.pedestrian': expected a role for every concept that occurs, got none");
}

}  // namespace
}  // namespace tierod::zoo

#include "tierod/zoo/scene.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "message_of.h"
#include "tierod/core/error.h"

namespace tierod::zoo {
namespace {

std::vector<Scene> draw(const SceneConfig& config) {
  const SceneGenerator generator(config);
  std::vector<Scene> scenes;
  for (std::int64_t id = 0; id < config.scenes; ++id) scenes.push_back(generator.draw(id));
  return scenes;
}

SceneConfig many(std::int64_t scenes = 40000) {
  SceneConfig config;
  config.scenes = scenes;
  return config;
}

double share(const std::vector<Scene>& scenes, const auto& holds) {
  double count = 0;
  for (const Scene& scene : scenes) count += holds(scene) ? 1 : 0;
  return count / static_cast<double>(scenes.size());
}

/// Correlation of the presence of two features, computed from all scenes.
double phi(const std::vector<Scene>& scenes, std::size_t a, std::size_t b) {
  const double p = share(scenes, [&](const Scene& s) { return s.has(a); });
  const double q = share(scenes, [&](const Scene& s) { return s.has(b); });
  const double both = share(scenes, [&](const Scene& s) { return s.has(a) && s.has(b); });
  return (both - p * q) / std::sqrt(p * (1 - p) * q * (1 - q));
}

// Four standard errors of a share of n scenes.
double slack(double p, std::size_t n) {
  return 4 * std::sqrt(p * (1 - p) / static_cast<double>(n));
}

TEST(SceneGenerator, ASceneDependsOnSeedAndIdAlone) {
  SceneConfig config = many(50);
  const std::vector<Scene> scenes = draw(config);
  const SceneGenerator generator(config);
  for (std::int64_t id = 49; id >= 0; --id) {
    EXPECT_EQ(generator.draw(id), scenes[static_cast<std::size_t>(id)]);
  }
  config.scenes = 10;
  const std::vector<Scene> few = draw(config);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), scenes.begin()));
  config.seed = 1;
  EXPECT_NE(draw(config)[3], scenes[3]);
}

TEST(SceneGenerator, PrevalencesAreWhatWasAskedFor) {
  SceneConfig config = many();
  config.prevalence = {.4, .01, .2, .15, 0, .3, .25, .05};
  config.near_share.fill(.3);
  const std::vector<Scene> scenes = draw(config);
  for (std::size_t c = 0; c < kConcepts; ++c) {
    const double p = config.prevalence[c];
    EXPECT_NEAR(share(scenes, [&](const Scene& s) { return s.has(c); }), p,
                slack(p, scenes.size()) + 1e-12)
        << concept_infos()[c].id;
    EXPECT_NEAR(share(scenes, [&](const Scene& s) { return s.concepts[c].near; }), .3,
                slack(.3, scenes.size()));
  }
  EXPECT_GT(share(scenes,
                  [](const Scene& s) {
                    int count = 0;
                    for (std::size_t c = 0; c < kConcepts; ++c) count += s.has(c) ? 1 : 0;
                    return count >= 2;
                  }),
            .3);
}

TEST(SceneGenerator, CooccurrenceIsExactUpToSixTenths) {
  SceneConfig config = many();
  config.links = {{"stop_line", "stop_sign", .6},
                  {"cyclist", "cones", .6},
                  {"cut_in", "cyclist", .3},
                  {"pedestrian", "red_light", -.2}};
  const std::vector<Scene> scenes = draw(config);
  const auto index = [](std::string_view id) { return feature_index(id, "test"); };
  const double error = 4 / std::sqrt(40000.0);
  for (const Link& link : config.links) {
    EXPECT_NEAR(phi(scenes, index(link.of), index(link.with)), link.r, 1.5 * error) << link.of;
  }
  // along the tree correlations multiply, across trees there are none
  EXPECT_NEAR(phi(scenes, index("cut_in"), index("cones")), .18, error);
  EXPECT_NEAR(phi(scenes, index("debris"), index("lead_braking")), 0, error);
  for (std::size_t c = 0; c < kConcepts; ++c) {
    EXPECT_NEAR(share(scenes, [&](const Scene& s) { return s.has(c); }), config.prevalence[c],
                slack(config.prevalence[c], scenes.size()));
  }
}

TEST(SceneGenerator, EnrichmentKeepsTheRestOfTheWorld) {
  SceneConfig config = many();
  config.prevalence[static_cast<std::size_t>(Concept::cyclist)] = .02;
  config.prevalence[static_cast<std::size_t>(Concept::cones)] = .05;
  config.links = {{"cones", "cyclist", .3}, {"stop_line", "stop_sign", .6}};
  const std::size_t cyclist = feature_index("cyclist", "test");
  const std::size_t cones = feature_index("cones", "test");
  const std::vector<Scene> natural = draw(config);
  config.enrich = Enrichment{"cyclist", .5};
  const std::vector<Scene> rich = draw(config);
  EXPECT_NEAR(share(rich, [&](const Scene& s) { return s.has(cyclist); }), .5, .01);
  // P(cones | cyclist) = p + r sqrt(p (1-p) (1-q) / q), by hand
  const double given = .05 + .3 * std::sqrt(.05 * .95 * .98 / .02);
  double with = 0, both = 0, weight = 0, weighted = 0;
  const SceneGenerator generator(config);
  for (const Scene& scene : rich) {
    with += scene.has(cyclist) ? 1 : 0;
    both += scene.has(cyclist) && scene.has(cones) ? 1 : 0;
    weight += generator.weight(scene);
    weighted += scene.has(cones) ? generator.weight(scene) : 0;
  }
  EXPECT_NEAR(both / with, given, 4 * std::sqrt(given * (1 - given) / with));
  EXPECT_NEAR(weight / static_cast<double>(rich.size()), 1, .01);
  EXPECT_NEAR(weighted / weight, .05, .01);
  EXPECT_NEAR(phi(rich, feature_index("stop_line", "test"), feature_index("stop_sign", "test")), .6,
              .03);
  EXPECT_EQ(generator.weight(natural[0]), natural[0].has(cyclist) ? .04 : .98 / .5);
}

TEST(SceneGenerator, DistancesLeaveAGapBetweenNearAndFar) {
  for (const Scene& scene : draw(many(5000))) {
    for (std::size_t c = 0; c < kConcepts; ++c) {
      const ConceptInfo& info = concept_infos()[c];
      const ConceptState& state = scene.concepts[c];
      const double place = (state.distance_mm - info.nearest_mm) /
                           static_cast<double>(info.farthest_mm - info.nearest_mm);
      ASSERT_GE(place, 0);
      ASSERT_LE(place, 1);
      ASSERT_TRUE(state.near ? place <= .4167 : place >= .5833) << info.id << " " << place;
      const double left = state.lateral_mm;
      ASSERT_TRUE(state.side == Side::left    ? left >= info.inner_mm
                  : state.side == Side::right ? left <= -info.inner_mm
                                              : std::abs(left) <= info.outer_mm);
    }
  }
}

TEST(SceneGenerator, RoutesTownsAndWeather) {
  const SceneConfig config = many(20000);
  const std::vector<Scene> scenes = draw(config);
  std::set<std::int32_t> routes, towns;
  for (std::size_t i = 500; i < 540; ++i) routes.insert(scenes[i].route);
  EXPECT_EQ(routes.size(), 40U) << "any 40 consecutive scenes";
  for (const Scene& scene : scenes) {
    routes.insert(scene.route);
    towns.insert(scene.town);
    ASSERT_EQ(scene.town, scene.route / 8);
    ASSERT_GE(scene.speed_mm_s, 8000);
    ASSERT_LE(scene.speed_mm_s, 15000);
    ASSERT_LE(std::abs(scene.acceleration_mm_s2), 1000);
    ASSERT_LE(std::abs(scene.curvature_um), 8000);
  }
  EXPECT_EQ(routes.size(), 96U);
  EXPECT_EQ(towns.size(), 12U);
  for (std::size_t w = 0; w < 5; ++w) {
    EXPECT_NEAR(share(scenes, [&](const Scene& s) { return s.weather == static_cast<Weather>(w); }),
                config.weather[w], slack(config.weather[w], scenes.size()));
  }
  EXPECT_NEAR(share(scenes, [](const Scene& s) { return rarity_of(s.weather) == Rarity::rare; }),
              .14, slack(.14, scenes.size()));
}

TEST(SceneGenerator, ATwinDiffersInTheConceptAlone) {
  const SceneGenerator generator(many());
  const Scene scene = generator.draw(17);
  for (std::size_t f = 0; f <= kConcepts; ++f) {
    Scene twin = generator.twin(scene, f);
    EXPECT_NE(twin.has(f), scene.has(f));
    EXPECT_EQ(generator.twin(twin, f), scene);
    (f < kConcepts ? twin.concepts[f].present : twin.stop_line) = scene.has(f);
    EXPECT_EQ(twin, scene);
  }
}

TEST(SceneConfig, GoesThroughJson) {
  SceneConfig config = many(77);
  config.seed = 0xFFFFFFFFFFFFFFFFULL;
  config.prevalence[2] = .33;
  config.links.push_back({"debris", "cones", -.1});
  config.enrich = Enrichment{"debris", .25};
  config.hidden = {"debris"};
  EXPECT_EQ(SceneConfig::from_json(config.to_json()), config);
  EXPECT_EQ(SceneConfig::from_json("{}"), SceneConfig());
  EXPECT_EQ(SceneConfig::from_json(R"({"prevalence": {"cones": 0.3}})").prevalence[5], .3);
}

TEST(SceneConfig, NamesTheFieldTheValueAndTheRemedy) {
  const auto refusal = [](const std::string& json) {
    return message_of<InvalidArgument>([&] { SceneConfig::from_json(json); });
  };
  EXPECT_EQ(refusal(R"({"scenes": 0})"),
            "[zoo.SceneConfig] field 'scenes': expected at least one scene, got 0");
  EXPECT_EQ(
      refusal(R"({"prevalence": {"cones": 0.5}})"),
      "[zoo.SceneConfig] field 'prevalence.cones': expected 0 or a share in [.01, .4], got 0.5; "
      "rarer concepts are studied with 'enrich'");
  EXPECT_NE(refusal(R"({"prevalence": {"cone": 0.1}})").find("got 'cone'; nearest [cones"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prevalence": {"cones": "much"}})").find("expected a number, got \"much\""),
            std::string::npos);
  EXPECT_NE(refusal(R"({"scene": 4})").find("does not know the key 'scene'"), std::string::npos);
  EXPECT_NE(refusal(R"({"seed": -1})").find("'seed': expected a whole number >= 0, got -1"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"links": [{"of": "cones", "with": "cyclist", "r": 0.7}]})")
                .find("expected a correlation in [-.6, .6], got 0.7"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prevalence": {"cones": 0.02},
                        "links": [{"of": "cones", "with": "cyclist", "r": 0.6}]})")
                .find("bring the prevalences nearer"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"links": [{"of": "cones", "with": "cyclist", "r": 0.1},
                                  {"of": "cyclist", "with": "cones", "r": 0.1}]})")
                .find("without cycles"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"weather": [0.5, 0.5, 0.5, 0, 0]})").find("sum to 1, got 1.5"),
            std::string::npos);
  EXPECT_NE(
      refusal(R"({"prevalence": {"debris": 0}, "enrich": {"concept": "debris", "share": 0.5}})")
          .find("'debris' with prevalence 0; give it a prevalence"),
      std::string::npos);
  EXPECT_NE(
      refusal(R"({"enrich": {"concept": "debris", "share": 1}})").find("inside (0, 1), got 1"),
      std::string::npos);
  EXPECT_NE(refusal("{").find("expected JSON"), std::string::npos);
}

TEST(SceneGenerator, RefusesTheTwinOfAConceptThatScenesCannotHave) {
  SceneConfig config = many(3);
  config.prevalence[0] = 0;
  const SceneGenerator generator(config);
  EXPECT_EQ(
      message_of<InvalidArgument>([&] { generator.twin(generator.draw(2), 0); }),
      "[zoo.SceneGenerator.twin] expected a concept that scenes can have, got 'pedestrian' with "
      "prevalence 0 in scene 2; give it a prevalence in the configuration");
}

}  // namespace
}  // namespace tierod::zoo

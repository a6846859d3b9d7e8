#include "tierod/zoo/render.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "message_of.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"

namespace tierod::zoo {
namespace {

using Pixels = std::vector<std::uint8_t>;

Pixels picture(const Scene& scene, std::uint32_t hidden = 0) {
  Pixels out(static_cast<std::size_t>(kImageBytes));
  render(scene, out, hidden);
  return out;
}

Scene empty_road(const SceneGenerator& generator, std::int64_t id,
                 Weather weather = Weather::clear) {
  Scene scene = generator.draw(id);
  for (ConceptState& state : scene.concepts) state.present = false;
  scene.stop_line = scene.car_ahead = scene.green_light = scene.neighbour = false;
  scene.weather = weather;
  return scene;
}

struct Box {
  std::int64_t left = kImageWidth, right = -1, top = kImageHeight, bottom = -1, pixels = 0;
};

/// Return where two pictures differ.
Box difference(const Pixels& a, const Pixels& b) {
  Box box;
  for (std::int64_t y = 0; y < kImageHeight; ++y) {
    for (std::int64_t x = 0; x < kImageWidth; ++x) {
      const auto at = static_cast<std::size_t>(y * kImageWidth + x);
      const std::size_t plane = static_cast<std::size_t>(kImageHeight * kImageWidth);
      if (a[at] == b[at] && a[at + plane] == b[at + plane] &&
          a[at + 2 * plane] == b[at + 2 * plane]) {
        continue;
      }
      box = {std::min(box.left, x), std::max(box.right, x), std::min(box.top, y),
             std::max(box.bottom, y), box.pixels + 1};
    }
  }
  return box;
}

// The pictures behind these hashes were looked at (docs/zoo.md shows some of them).
TEST(Render, GoldenHashes) {
  const SceneGenerator generator((SceneConfig()));
  Pixels all;
  for (std::int64_t id = 0; id < 200; ++id) {
    const Pixels one = picture(generator.draw(id));
    all.insert(all.end(), one.begin(), one.end());
  }
  EXPECT_EQ(sha256_hex(all.data(), all.size()),
            "e2509476fb1e187e32eec33ce67b78e3492b272d780974a8d703f5197ffbdf48");
  constexpr std::array<const char*, 5> golden = {
      "0ce2f2418f644c1280e758b868dd4fd3fc276e3173d4a00dd0b387fd167b8fe2",
      "400dab1780a774de0c55626ff4000c38f5c0b91471b132b40a061045a00e3191",
      "b23bcb7ddf2062095aa089cdaac9ce7474a695737476b1b7548caa74822622fc",
      "ce1d0943ae92aecf4149397369795e8beb8d22c703a16c86507b27e0543194bd",
      "db9ef68077e0c47bac5efe11ab6cbfd0b49487b79458aa532aa2aac79ddd21ae"};
  for (std::size_t w = 0; w < golden.size(); ++w) {
    Scene scene = empty_road(generator, 5, static_cast<Weather>(w));
    for (ConceptState& state : scene.concepts) state.present = true;
    const Pixels one = picture(scene);
    EXPECT_EQ(sha256_hex(one.data(), one.size()), golden[w]) << weather_name(scene.weather);
  }
}

// Where a thing is seen follows from a pinhole 1.5 m above the road with a focal length of 70
// pixels, by hand: x = 48 - 70 left / d, y = 18 + 70 (1.5 - up) / d.
TEST(Render, ThingsStandWhereAPinholeSeesThem) {
  const SceneGenerator generator((SceneConfig()));
  Scene without = empty_road(generator, 3);
  without.curvature_um = 0;
  Scene with = without;
  ConceptState& person = with.concepts[static_cast<std::size_t>(Concept::pedestrian)];
  person.present = true;
  person.distance_mm = 7000;
  person.lateral_mm = 1000;
  const Box box = difference(picture(without), picture(with));
  EXPECT_NEAR((box.left + box.right) / 2.0, 48 - 70 * 1.0 / 7, 1.5);
  EXPECT_NEAR(box.top, 18 + 70 * (1.5 - 1.79) / 7, 1.1);
  EXPECT_NEAR(box.bottom, 18 + 70 * 1.5 / 7, 1.1);
  // in a bend of .008 1/m to the left the lane lies .196 m further left at 7 m
  Scene bent = with, bent_without = without;
  bent.curvature_um = bent_without.curvature_um = 8000;
  const Box moved = difference(picture(bent_without), picture(bent));
  EXPECT_NEAR(moved.left, box.left - 70 * .196 / 7, 1.1);
}

/// Return the pixels at which a feature is to be seen on an empty road, in any weather.
std::vector<bool> silhouette(const Scene& scene, std::size_t feature) {
  constexpr auto kPlane = static_cast<std::size_t>(kImageHeight * kImageWidth);
  std::vector<bool> out(kPlane);
  for (std::size_t w = 0; w < 5; ++w) {
    Scene without = scene;
    for (ConceptState& state : without.concepts) state.present = false;
    without.stop_line = without.neighbour = false;
    without.car_ahead = without.car_ahead && feature == 2;
    without.green_light = without.green_light && feature == 1;
    without.weather = static_cast<Weather>(w);
    without.clutter = {};
    Scene with = without;
    (feature < kConcepts ? with.concepts[feature].present : with.stop_line) = true;
    const Pixels a = picture(without), b = picture(with);
    for (std::size_t i = 0; i < kPlane; ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        if (a[i + c * kPlane] != b[i + c * kPlane]) out[i] = true;
      }
    }
  }
  return out;
}

// Not one pixel beside the concept's own may change: a car that vanished with it would be a second
// cause.
TEST(Render, TwinsDifferOnlyInPixelsOfTheConcept) {
  const SceneGenerator generator((SceneConfig()));
  std::int64_t seen = 0;
  for (std::int64_t id = 0; id < 150; ++id) {
    const Scene scene = generator.draw(id);
    for (std::size_t f = 0; f <= kConcepts; ++f) {
      const std::vector<bool> own = silhouette(scene, f);
      const Pixels a = picture(scene), b = picture(generator.twin(scene, f));
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i] == b[i]) continue;
        ++seen;
        ASSERT_TRUE(own[i % own.size()]) << "scene " << id << " feature " << f << " pixel " << i;
      }
    }
  }
  EXPECT_GT(seen, 10000);
}

TEST(Render, TwinsDifferOnlyWhereTheConceptIs) {
  const SceneGenerator generator((SceneConfig()));
  for (std::int64_t id = 0; id < 120; ++id) {
    const Scene scene = generator.draw(id);
    for (std::size_t f = 0; f <= kConcepts; ++f) {
      const Box box = difference(picture(scene), picture(generator.twin(scene, f)));
      if (f < kConcepts && box.pixels > 0) {
        const double x = 48 - 70.0 *
                                  (scene.concepts[f].lateral_mm +
                                   scene.curvature_um * 1e-9 * scene.concepts[f].distance_mm *
                                       scene.concepts[f].distance_mm / 2) /
                                  scene.concepts[f].distance_mm;
        ASSERT_GE(x, box.left - 14) << "scene " << id << " feature " << f;
        ASSERT_LE(x, box.right + 14) << "scene " << id << " feature " << f;
      }
    }
  }
}

TEST(Render, EveryConceptIsSeenOnAnEmptyRoadInAnyWeather) {
  const SceneGenerator generator((SceneConfig()));
  constexpr std::array<std::int64_t, kConcepts> least = {14, 10, 20, 25, 18, 8, 9, 14};
  for (std::int64_t id = 0; id < 60; ++id) {
    for (std::size_t w = 0; w < 5; ++w) {
      const Scene without = empty_road(generator, id, static_cast<Weather>(w));
      for (std::size_t c = 0; c < kConcepts; ++c) {
        Scene with = without;
        with.concepts[c].present = true;
        ASSERT_GE(difference(picture(without), picture(with)).pixels, least[c])
            << concept_infos()[c].id << " at " << with.concepts[c].distance_mm << " mm, "
            << weather_name(with.weather);
        ASSERT_EQ(difference(picture(without), picture(with, 1U << c)).pixels, 0);
      }
    }
  }
}

TEST(Render, RefusesAnotherSize) {
  const SceneGenerator generator((SceneConfig()));
  Pixels small(100);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              render(generator.draw(0), small);
            }).find("expected 13824 bytes (3 x 48 x 96), got 100"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::zoo

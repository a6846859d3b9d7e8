#include "tierod/zoo/scene.h"

#include <algorithm>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "zoo/scene_config_internal.h"

namespace tierod::zoo {

using internal::cat;

namespace {

// Words of the same scene and part never serve two purposes.
enum Part : std::uint32_t {
  kPresence,
  kPlace,
  kColour,
  kEgo,
  kSky,
  kBeside,
  kClutterPlace,
  kRoute
};

using Words = std::array<std::uint32_t, 4>;

/// Scale 32 random bits onto [low, high], ends included.
std::int32_t between(std::uint32_t bits, std::int32_t low, std::int32_t high) {
  const auto width = static_cast<std::uint64_t>(static_cast<std::int64_t>(high) - low + 1);
  return low + static_cast<std::int32_t>((bits * width) >> 32);
}

bool chance(std::uint32_t bits, double share) {
  return static_cast<double>(bits) < share * 4294967296.0;
}

Side side_of(const ConceptInfo& info, std::uint32_t bits) {
  std::array<Side, 3> sides{};
  std::uint64_t count = 0;
  if (info.left) sides[count++] = Side::left;
  if (info.ahead) sides[count++] = Side::ahead;
  if (info.right) sides[count++] = Side::right;
  return sides[(bits * count) >> 32];
}

ConceptState place(const ConceptInfo& info, double near_share, const Words& where,
                   const Words& look) {
  ConceptState out;
  out.near = chance(where[0], near_share);
  // a gap of a sixth between near and far, so that the words are never in doubt
  const std::int32_t span = info.farthest_mm - info.nearest_mm;
  const std::int32_t part = span * 5 / 12;
  out.distance_mm = out.near ? between(where[1], info.nearest_mm, info.nearest_mm + part)
                             : between(where[1], info.farthest_mm - part, info.farthest_mm);
  out.side = side_of(info, where[2]);
  const std::int32_t off = between(where[3], info.inner_mm, info.outer_mm);
  out.lateral_mm = out.side == Side::left    ? off
                   : out.side == Side::right ? -off
                                             : between(where[3], -info.outer_mm, info.outer_mm);
  for (std::size_t i = 0; i < 3; ++i) out.colour[i] = static_cast<std::uint8_t>(look[i] >> 24);
  out.detail = look[3];
  return out;
}

}  // namespace

Rarity rarity_of(Weather weather) noexcept {
  switch (weather) {
    case Weather::clear:
    case Weather::overcast:
      return Rarity::common;
    case Weather::rain:
      return Rarity::uncommon;
    case Weather::fog:
    case Weather::night:
      break;
  }
  return Rarity::rare;
}

const char* weather_name(Weather weather) noexcept {
  constexpr std::array<const char*, 5> names = {"clear", "overcast", "rain", "fog", "night"};
  return names[static_cast<std::size_t>(weather)];
}

const char* side_name(Side side) noexcept {
  constexpr std::array<const char*, 3> names = {"left", "ahead", "right"};
  return names[static_cast<std::size_t>(side)];
}

struct SceneGenerator::Steps {
  std::array<PresenceStep, kFeatures> presence;
  CounterRandom scene, route;
};

SceneGenerator::SceneGenerator(SceneConfig config) : config_(std::move(config)) {
  config_.check();
  steps_ = std::make_shared<const Steps>(Steps{presence_steps(config_),
                                               CounterRandom(config_.seed, "zoo scene"),
                                               CounterRandom(config_.seed, "zoo route")});
}

Scene SceneGenerator::draw(std::int64_t id) const {
  const auto address = static_cast<std::uint64_t>(id);
  const auto words = [&](std::uint32_t part, std::uint32_t position) {
    return steps_->scene.block(address, part, position);
  };
  Scene out;
  out.id = id;
  out.route = static_cast<std::int32_t>(
      id % (static_cast<std::int64_t>(config_.towns) * config_.routes_per_town));
  out.town = out.route / config_.routes_per_town;

  std::array<bool, kFeatures + 1> present{};
  for (const PresenceStep& step : steps_->presence) {
    const std::uint64_t limit = present[step.given] ? step.if_present : step.if_absent;
    const auto position = static_cast<std::uint32_t>(step.feature);
    present[step.feature] = words(kPresence, position)[0] < limit;
  }
  out.stop_line = present[kConcepts];
  for (std::uint32_t c = 0; c < kConcepts; ++c) {
    out.concepts[c] =
        place(concept_infos()[c], config_.near_share[c], words(kPlace, c), words(kColour, c));
    out.concepts[c].present = present[c];
  }

  const Words ego = words(kEgo, 0);
  const Words route = steps_->route.block(static_cast<std::uint64_t>(out.route), kRoute, 0);
  out.speed_mm_s = between(ego[0], 8000, 15000);
  out.acceleration_mm_s2 = between(ego[1], -1000, 1000);
  // half of the bend belongs to the route
  out.curvature_um = between(route[0], -3000, 3000) + between(ego[2], -5000, 5000);
  out.navigation = static_cast<Navigation>(between(ego[3], 0, 2));

  const Words sky = words(kSky, 0);
  double below = 0;
  out.weather = Weather::clear;
  for (std::size_t w = 0; w < config_.weather.size(); ++w) {
    below += config_.weather[w];
    if (chance(sky[0], below)) {
      out.weather = static_cast<Weather>(w);
      break;
    }
  }
  out.brightness_pm = between(sky[1], 760, 1060);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::uint32_t bits = i == 0 ? sky[2] : (i == 1 ? sky[3] : route[1]);
    out.tint_pm[i] = between(bits, 950, 1050);
  }

  const Words beside = words(kBeside, 0);
  out.car_ahead = chance(beside[0], .35);
  out.green_light = chance(beside[1], .3);
  out.neighbour = chance(beside[2], .3);
  // farther than any concept, so that it hides none and each twin differs by its own pixels
  out.neighbour_mm = between(beside[3], 22500, 36000);
  const Words key = words(kBeside, 1);
  out.key = (static_cast<std::uint64_t>(key[1]) << 32) | key[0];

  for (std::uint32_t i = 0; i < out.clutter.size(); ++i) {
    const Words a = words(kClutterPlace, 2 * i);
    const Words b = words(kClutterPlace, 2 * i + 1);
    Clutter& item = out.clutter[i];
    item.present = chance(a[0], .6);
    item.building = chance(a[1], .4);
    const std::int32_t side = (a[2] & 1U) != 0 ? 1 : -1;
    item.distance_mm = between(a[3], 14000, 42000);
    // the road reaches 5.3 m to the left and 1.8 m to the right of the lane's centre
    item.lateral_mm = side * between(b[0], side > 0 ? 8500 : 6500, 14000);
    item.height_mm = between(b[1], item.building ? 3500 : 3000, item.building ? 8500 : 6500);
    item.width_mm = between(b[2], item.building ? 4000 : 2000, item.building ? 7000 : 3500);
    item.shade = static_cast<std::uint8_t>(b[3] >> 24);
  }
  return out;
}

Scene SceneGenerator::twin(const Scene& scene, std::size_t feature) const {
  const double prevalence =
      feature < kConcepts ? config_.prevalence[feature] : config_.stop_line_prevalence;
  if (prevalence == 0) {
    const std::string_view id = feature < kConcepts ? concept_infos()[feature].id : kStopLine;
    throw InvalidArgument(cat(
        "[zoo.SceneGenerator.twin] expected a concept that scenes can have, got '", id,
        "' with prevalence 0 in scene ", scene.id, "; give it a prevalence in the configuration"));
  }
  Scene out = scene;
  bool& present = feature < kConcepts ? out.concepts[feature].present : out.stop_line;
  present = !present;
  return out;
}

double SceneGenerator::weight(const Scene& scene) const {
  if (!config_.enrich) return 1;
  const std::size_t f = feature_index(config_.enrich->concept_id, "zoo.SceneGenerator.weight");
  const double p = f < kConcepts ? config_.prevalence[f] : config_.stop_line_prevalence;
  const double share = config_.enrich->share;
  return scene.has(f) ? p / share : (1 - p) / (1 - share);
}

}  // namespace tierod::zoo

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/zoo/concepts.h"
#include "tierod/zoo/scene_config.h"

namespace tierod::zoo {

enum class Weather : std::uint8_t { clear, overcast, rain, fog, night };
enum class Navigation : std::uint8_t { follow, keep_left, keep_right };
enum class Side : std::uint8_t { left, ahead, right };

/// Hold one concept of one scene. All but `present` is drawn whether it is present or not, so that
/// toggling `present` is an exact counterfactual.
struct ConceptState {
  bool present = false;
  /// Near concepts are the salient ones.
  bool near = false;
  Side side = Side::ahead;
  std::int32_t distance_mm = 0;
  std::int32_t lateral_mm = 0;  ///< of the lane's centre line, left > 0
  std::array<std::uint8_t, 3> colour{};
  /// Spare bits for a shape's details.
  std::uint32_t detail = 0;

  bool operator==(const ConceptState&) const = default;
};

/// Hold a tree or a building beside the road.
struct Clutter {
  bool present = false;
  bool building = false;
  std::int32_t distance_mm = 0;
  std::int32_t lateral_mm = 0;
  std::int32_t height_mm = 0;
  std::int32_t width_mm = 0;
  std::uint8_t shade = 0;

  bool operator==(const Clutter&) const = default;
};

/// Hold the whole state of a scene, in whole numbers, so that it is the same on every machine: mm,
/// mm/s, mm/s^2, 1e-6 1/m, and per mille.
struct Scene {
  std::int64_t id = 0;
  std::int32_t town = 0;
  std::int32_t route = 0;
  /// Hash of (seed, id) for what the picture needs no address for.
  std::uint64_t key = 0;

  std::int32_t speed_mm_s = 0;          ///< 8 to 15 m/s
  std::int32_t acceleration_mm_s2 = 0;  ///< -1 to 1 m/s^2, before any concept is reacted to
  std::int32_t curvature_um = 0;        ///< of the lane, -.008 to .008 1/m, left > 0
  Navigation navigation = Navigation::follow;
  Weather weather = Weather::clear;
  std::int32_t brightness_pm = 1000;
  std::array<std::int32_t, 3> tint_pm{};

  std::array<ConceptState, kConcepts> concepts{};
  bool stop_line = false;

  // what is there besides, independent of the concepts: a car ahead that does not brake, a green
  // light where there is no red one, a car that keeps its lane
  bool car_ahead = false;
  bool green_light = false;
  bool neighbour = false;
  std::int32_t neighbour_mm = 0;
  std::array<Clutter, 6> clutter{};

  const ConceptState& operator[](Concept c) const { return concepts[static_cast<std::size_t>(c)]; }
  /// Tell whether a feature (concept, or kConcepts for the stop line) is present.
  bool has(std::size_t feature) const {
    return feature < kConcepts ? concepts[feature].present : stop_line;
  }

  bool operator==(const Scene&) const = default;
};

/// Stratum of a scene by how common its weather is.
enum class Rarity : std::uint8_t { common, uncommon, rare };

/// Return common for clear and overcast, uncommon for rain, rare for fog and night.
TIEROD_API Rarity rarity_of(Weather weather) noexcept;

/// Return "clear", "overcast", "rain", "fog", "night".
TIEROD_API const char* weather_name(Weather weather) noexcept;
/// Return "left", "ahead", "right".
TIEROD_API const char* side_name(Side side) noexcept;

/// Draw scenes one by one: scene `id` is a function of the configuration and `id` alone.
class TIEROD_API SceneGenerator {
 public:
  /// @throws InvalidArgument as `SceneConfig::check` does.
  explicit SceneGenerator(SceneConfig config);

  const SceneConfig& config() const noexcept { return config_; }
  Scene draw(std::int64_t id) const;
  /// Return `scene` with a feature toggled, all else equal.
  /// @throws InvalidArgument if the world has none of it: its prevalence is 0.
  Scene twin(const Scene& scene, std::size_t feature) const;
  /// Return how much a scene counts under the natural prevalence, where scenes are enriched: the
  /// ratio of the probability of its enriched concept's presence to that in the draw.
  double weight(const Scene& scene) const;

 private:
  struct Steps;
  SceneConfig config_;
  std::shared_ptr<const Steps> steps_;
};

}  // namespace tierod::zoo

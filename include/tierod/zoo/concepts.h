#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod::zoo {

/// Number of concepts that a scene may hold, several at once.
inline constexpr std::size_t kConcepts = 8;

/// Index the concepts of a scene.
enum class Concept : std::uint8_t {
  pedestrian,
  red_light,
  lead_braking,
  cut_in,
  cyclist,
  cones,
  stop_sign,
  debris,
};

/// Name the correlate of stop_sign: a white line across the lane. It is labelled and drawn, and
/// never stated.
inline constexpr std::string_view kStopLine = "stop_line";

/// Say what a concept is: how it is called, where it stands, and what a careful driver does.
struct ConceptInfo {
  std::string_view id;
  /// How a chain of thought calls it; one token.
  std::string_view word;
  /// What a truthful chain of thought concludes from it.
  std::string_view decision;
  /// Range of distances in mm; near is its nearer part, far its farther, with a gap between them.
  std::int32_t nearest_mm, farthest_mm;
  /// Range of the lateral distance from the lane's centre in mm, and the sides it may stand on.
  std::int32_t inner_mm, outer_mm;
  bool left, ahead, right;
  /// Share of scenes, and the law's effect on mean acceleration (m/s^2, 0-2 s) and on curvature
  /// (1/m), where a specification says nothing else.
  double prevalence, effect, curvature;
};

/// Return what is fixed of each concept, in the order of `Concept`.
TIEROD_API const std::array<ConceptInfo, kConcepts>& concept_infos();

/// Return the index of the concept called `id`; kConcepts for the stop line.
/// @throws InvalidArgument with the nearest names; `where` ("zoo.function") starts the message.
TIEROD_API std::size_t feature_index(std::string_view id, std::string_view where);

/// Return the ids of all concepts, in the order of `Concept`.
TIEROD_API std::vector<std::string> zoo_concepts();

}  // namespace tierod::zoo

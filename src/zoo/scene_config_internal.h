#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/json_internal.h"
#include "tierod/zoo/scene_config.h"

namespace tierod::zoo {

/// Number of features whose presence is drawn: the concepts and the stop line.
inline constexpr std::size_t kFeatures = kConcepts + 1;

/// Draw feature `feature` given the feature `given`, or by itself where there is none; thresholds
/// on 32 random bits.
struct PresenceStep {
  std::size_t feature;
  std::size_t given;  ///< kFeatures: none
  std::uint64_t if_absent, if_present;
};

/// Order the features so that each comes after the one it depends on, starting at the enriched one.
/// Joint probabilities of a tree do not depend on where it is entered.
std::array<PresenceStep, kFeatures> presence_steps(const SceneConfig& config);

internal::Json config_json(const SceneConfig& config);
SceneConfig config_from(const internal::Json& json);

}  // namespace tierod::zoo

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/zoo/concepts.h"

namespace tierod::zoo {

/// Let two concepts occur together: phi, the correlation of their presence, is exactly r.
struct TIEROD_API Link {
  std::string of;
  std::string with;
  double r = 0;

  bool operator==(const Link&) const = default;
};

/// Choose a concept to be present in a share of the scenes, the rest of the scene drawn given that.
struct TIEROD_API Enrichment {
  std::string concept_id;
  double share = .5;

  bool operator==(const Enrichment&) const = default;
};

/// Say how scenes are drawn. Two draws with the same configuration are the same, and scene k of a
/// longer draw is scene k of a shorter one.
struct TIEROD_API SceneConfig {
  std::uint64_t seed = 0;
  std::int64_t scenes = 1000;
  /// Consecutive scenes take the routes in turn, so that any 96 have 96 routes.
  std::int32_t towns = 12;
  std::int32_t routes_per_town = 8;
  /// Share of scenes with each concept: .01 to .4, or 0 for a world without it.
  std::array<double, kConcepts> prevalence;
  /// Share of scenes with the stop line.
  double stop_line_prevalence = .2;
  /// Which concepts occur together; no cycles. The stop line follows the stop sign.
  std::vector<Link> links = {{"stop_line", "stop_sign", .6}};
  /// Share of near ones among each concept: its salience.
  std::array<double, kConcepts> near_share;
  /// Shares of clear, overcast, rain, fog, night; the last two are the rare stratum.
  std::array<double, 5> weather = {.45, .27, .14, .07, .07};
  std::optional<Enrichment> enrich{};
  /// Concepts that are labelled and not drawn, for statements about what cannot be seen.
  std::vector<std::string> hidden{};

  SceneConfig();

  /// Throw unless scenes can be drawn so.
  /// @throws InvalidArgument that names the field, what was expected, what was seen and a remedy.
  void check() const;
  std::string to_json() const;
  /// Read what `to_json` writes; keys that are left out have their defaults.
  /// @throws InvalidArgument as `check` does, and on unknown keys.
  static SceneConfig from_json(const std::string& json);

  bool operator==(const SceneConfig&) const = default;
};

}  // namespace tierod::zoo

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::patch {

/// Hold the donor of each scene, as places among the scenes, and how far it is.
struct TIEROD_API MatchedDonors {
  std::vector<std::int64_t> donors;  ///< [n], in [0, n)
  std::vector<double> distances;     ///< [n], Mahalanobis, in within-class standard deviations
};

/// Return for each scene the nearest one with the opposite label and of another group: what a
/// resample ablation takes its activations from, with the nuisances as equal as the scenes allow.
///
/// Nearest by the Mahalanobis distance with the covariance pooled within labels (Rubin 1980,
/// "Bias reduction using Mahalanobis-metric matching"), through its pseudo-inverse: columns that
/// are constant within the labels, or repeat others, count for nothing. Ties go to the lower place.
/// A donor may serve several scenes.
///
/// @param covariates  [n, q] row-major, any units, q = covariates.size() / n
/// @param labels      [n], 0 or 1
/// @param groups      [n], the independent unit
/// @param eligible    [n], 1 for scenes that may be donors; empty: all
/// @throws InvalidArgument on other lengths or labels, a single class, no covariate, or a scene
///         without a donor; it names the scene.
/// @throws NumericalError if a covariate is not finite.
TIEROD_API MatchedDonors matched_donors(std::span<const double> covariates,
                                        std::span<const std::uint8_t> labels,
                                        std::span<const std::int64_t> groups,
                                        std::span<const std::uint8_t> eligible = {});

/// Return donors [n], as places, by which each scene gives exactly once and none receives from its
/// own group: what any other scene does, matched for nothing. A random permutation is drawn by the
/// counters of `seed`, receivers of their own group swap with others, and random swaps that break
/// no rule make the permutations allowed about equally likely.
/// @throws InvalidArgument if there are no scenes, or one group holds more than half of them (no
///         such permutation exists); it names the group.
TIEROD_API std::vector<std::int64_t> shuffled_donors(std::span<const std::int64_t> groups,
                                                     std::uint64_t seed = 0);

}  // namespace tierod::patch

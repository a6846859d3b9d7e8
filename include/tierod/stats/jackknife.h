#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/resampling.h"

namespace tierod::stats {

/// Return the refits theta_k [K] of the delete-group jackknife (Kott 2001, "The delete-a-group
/// jackknife", J. Official Statistics 17): whole clusters are dealt to K blocks at random, and
/// refit k leaves block k out (weights 0, the others 1).
///
/// @throws InvalidArgument unless 2 <= blocks <= clusters.
/// @throws NumericalError if a refit is not finite.
TIEROD_API std::vector<double> delete_group_refits(const Estimator& estimator, std::size_t clusters,
                                                   std::size_t blocks = 20, std::uint64_t seed = 0);

/// Return V_A = (K - 1) / K sum_k (theta_k - mean)^2, the variance of an estimate from its
/// delete-group refits.
/// @throws InvalidArgument with fewer than 2 refits.
/// @throws NumericalError if a refit is not finite.
TIEROD_API double delete_group_variance(std::span<const double> refits);

/// Return the t interval of an estimate from delete-group refits of itself, K - 1 degrees of
/// freedom. `blocks` = 0 deletes one cluster at a time.
/// @throws as `delete_group_refits`.
TIEROD_API Interval jackknife_interval(const Estimator& estimator, std::size_t clusters,
                                       std::size_t blocks = 0, double confidence = 0.95,
                                       std::uint64_t seed = 0);

/// Hold the interval of an effect that was measured on test clusters along a direction fitted on
/// training clusters.
struct TIEROD_API RefitInterval {
  Interval interval;
  double refit_variance = 0;  ///< V_A: the direction's own estimation error
  double test_variance = 0;   ///< V_C: the spread over the test clusters
  std::size_t refits = 0;     ///< K
};

/// Return theta +- t sqrt(V_A + V_C), t with min(K, G) - 1 degrees of freedom: V_A from K
/// delete-group refits of the direction, each evaluated on the same test scenes, V_C = s^2 / G of
/// the G test clusters' contributions (docs/stats.md). With V_C alone the direction
/// counts as known, and an unused concept is called used nearly always.
///
/// @param test    the estimate on the test clusters and their contributions, from
///                `balanced_influence` or `mean_influence`
/// @param refits  theta_k [K] for the same estimand, from `delete_group_refits` or a directional
///                derivative
/// @throws InvalidArgument with fewer than 2 refits or clusters.
/// @throws NumericalError if a refit or contribution is not finite.
TIEROD_API RefitInterval refit_interval(const Influence& test, std::span<const double> refits,
                                        double confidence = 0.95);

}  // namespace tierod::stats

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"
#include "tierod/stats/interval.h"

namespace tierod::stats {

/// Hold an estimate and what each cluster contributes to it.
struct TIEROD_API Influence {
  double estimate = 0;
  /// Contributions u_g [G], sum 0, in ascending order of the group labels: the estimate moves by
  /// u_g / G with cluster g. Differences of two estimates on the same clusters subtract.
  std::vector<double> contributions;
};

/// Return the weighted mean of `values` [n] with the contributions
/// u_g = G sum_{i in g} w_i (x_i - mean), sum_i w_i = 1: the linearised (sandwich) form, in which a
/// large cluster counts for what it moves.
///
/// @param weights  [n], >= 0, of any sum; empty for equal weights
/// @throws InvalidArgument on differing lengths, a negative weight, a sum of 0, or < 2 clusters.
/// @throws NumericalError if a value or weight is not finite.
TIEROD_API Influence mean_influence(std::span<const double> values,
                                    std::span<const std::int64_t> groups,
                                    std::span<const double> weights = {});

/// Return the concept-balanced mean: half the mean of the rows with label 1 plus half the mean of
/// those with label 0, however many there are of each, with the contributions
/// u_g = G sum_{i in g} (x_i - mean of i's class) / (2 n of i's class).
///
/// @throws InvalidArgument on differing lengths, a label that is not 0 or 1, a single class, or < 2
///         clusters.
/// @throws NumericalError if a value is not finite.
TIEROD_API Influence balanced_influence(std::span<const double> values,
                                        std::span<const std::uint8_t> labels,
                                        std::span<const std::int64_t> groups);

/// Return the variance of the estimate, s^2 / G, with s^2 the variance of the G contributions.
/// @throws InvalidArgument with fewer than 2 clusters.
/// @throws NumericalError if a contribution is not finite.
TIEROD_API double influence_variance(std::span<const double> contributions);

/// Return the t interval of an estimate from its clusters' contributions, G - 1 degrees of freedom.
/// @throws as `influence_variance` and `t_interval`.
TIEROD_API Interval influence_interval(const Influence& influence, double confidence = 0.95);

}  // namespace tierod::stats

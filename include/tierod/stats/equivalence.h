#pragma once

#include <cstdint>
#include <span>

#include "tierod/export.h"
#include "tierod/stats/interval.h"

namespace tierod::stats {

/// Hold two one-sided tests of "the parameter lies inside (lower, upper)".
struct TIEROD_API Equivalence {
  double p_lower = 1;  ///< p of H0: parameter <= lower
  double p_upper = 1;  ///< p of H0: parameter >= upper
  double p = 1;        ///< the larger of the two: the p of the equivalence claim
  double lower = 0;
  double upper = 0;
  double alpha = 0.05;
  /// The (1 - 2 alpha) interval: it lies inside (lower, upper) exactly when p < alpha.
  Interval interval;
  bool equivalent = false;
};

/// Test equivalence within fixed margins by two one-sided t tests (Schuirmann 1987): "not used" is
/// such a claim, and a large p of the usual test never is one.
///
/// @param estimate  an interval whose estimate, standard error and df are taken; its own confidence
///                  does not matter
/// @throws InvalidArgument unless lower < upper, both finite, alpha inside (0, .5), and the
/// standard
///         error > 0.
TIEROD_API Equivalence tost_between(const Interval& estimate, double lower, double upper,
                                    double alpha = 0.05);

/// The same with the symmetric margin (-margin, margin).
/// @throws InvalidArgument unless margin > 0, and as above.
TIEROD_API Equivalence tost(const Interval& estimate, double margin, double alpha = 0.05);

/// Test equivalence of the mean of cluster means [rows n] within +-margin.
/// @throws as `cluster_t_interval` and `tost`.
TIEROD_API Equivalence cluster_tost(std::span<const double> values,
                                    std::span<const std::int64_t> groups, double margin,
                                    double alpha = 0.05);

}  // namespace tierod::stats

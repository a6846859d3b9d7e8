#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tierod/export.h"

namespace tierod::stats {

/// Hold an estimate with its two-sided confidence interval [low, high].
struct TIEROD_API Interval {
  double estimate = 0;
  double low = 0;
  double high = 0;
  /// Standard error; for bootstrap intervals the standard deviation of the replicates.
  double standard_error = 0;
  /// Degrees of freedom; infinite where no t quantile is used.
  double df = 0;
  double confidence = 0.95;
  /// Number of independent clusters it rests on.
  std::size_t clusters = 0;
  /// How it was made: "t", "jackknife t", "refit jackknife t", "percentile", "bca", ...
  std::string method;

  /// Tell whether `value` lies outside: the two-sided test at level 1 - confidence rejects it.
  bool excludes(double value) const noexcept { return value < low || value > high; }
  /// Tell whether the whole interval lies inside (lower, upper). With confidence .90 this is the
  /// equivalence test of level .05 (Schuirmann 1987).
  bool inside(double lower, double upper) const noexcept { return low > lower && high < upper; }
};

/// Return estimate +- t standard_error with `df` degrees of freedom.
/// @throws InvalidArgument unless the estimate is finite, the error >= 0, df > 0 and the confidence
///         inside (0, 1).
TIEROD_API Interval t_interval(double estimate, double standard_error, double df,
                               double confidence = 0.95);

/// Return the t interval of the mean of cluster means: every cluster counts once, G - 1 degrees of
/// freedom. It keeps its coverage from about 8 clusters on, bootstraps only from about 30.
///
/// @param values  one number a row [n], any unit; the interval has the same unit
/// @param groups  the independent unit (scene, route) of each row [n]
/// @throws InvalidArgument on differing lengths and on fewer than 2 clusters.
/// @throws NumericalError if a value is not finite.
TIEROD_API Interval cluster_t_interval(std::span<const double> values,
                                       std::span<const std::int64_t> groups,
                                       double confidence = 0.95);

/// Return the interval of a proportion of independent trials, by inverting the binomial test
/// (Clopper and Pearson, Biometrika 26, 1934): never narrower than it says, and right at 0 and at
/// all.
/// @throws InvalidArgument unless 0 <= successes <= trials, trials >= 1 and the confidence is
/// inside
///         (0, 1).
TIEROD_API Interval proportion_interval(std::int64_t successes, std::int64_t trials,
                                        double confidence = 0.95);

/// Return the two-sided p of H0: the parameter is `null`, by the t of the interval's own standard
/// error and degrees of freedom.
/// @throws InvalidArgument if the standard error is 0 (a constant sample has no p).
TIEROD_API double t_test(const Interval& interval, double null = 0);

}  // namespace tierod::stats

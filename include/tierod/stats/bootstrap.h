#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/resampling.h"

namespace tierod::stats {

enum class BootstrapMethod : std::uint8_t {
  percentile,   ///< quantiles of the replicates
  bca,          ///< bias-corrected and accelerated (Efron 1987, equations 2.3 and 6.6)
  studentised,  ///< bootstrap t (Hall 1988): needs a standard error with each replicate
};

/// Return "percentile", "bca" or "studentised".
TIEROD_API const char* bootstrap_method_name(BootstrapMethod method) noexcept;

struct TIEROD_API BootstrapOptions {
  BootstrapMethod method = BootstrapMethod::bca;
  std::size_t replicates = 2000;
  double confidence = 0.95;
  std::uint64_t seed = 0;
  /// Replicates handed to a BatchEstimator at once. It changes memory and speed, never a number.
  std::size_t batch = 256;
  /// Threads that call the estimator side by side, which must then be safe to call so. It changes
  /// no number.
  std::size_t threads = 1;
  /// Share of replicates that may be undefined (NaN), for example for want of a class; they are
  /// left out and counted.
  double max_undefined = 0;
};

struct TIEROD_API BootstrapResult {
  Interval interval;
  /// Estimates (studentised: pivots t*) of the defined replicates, in the replicates' order.
  std::vector<double> replicates;
  std::size_t undefined = 0;
  double bias_correction = 0;  ///< z0 of BCa
  double acceleration = 0;     ///< a of BCa
  /// What the reader must know, such as too few clusters for the method; empty otherwise.
  std::string note;
};

/// Bootstrap whole clusters: draw G of G with replacement, refit, take the interval.
///
/// Percentile and BCa intervals reach their coverage only from about 30 clusters on; with fewer,
/// `note` says so, and `jackknife_interval` or `cluster_t_interval` is the better choice.
///
/// @param clusters  number of clusters G
/// @throws InvalidArgument with fewer than 2 clusters or 2 replicates, on a batch or threads of 0,
///         if the method is studentised and the estimator gives no standard errors, and if so few
///         replicates cannot hold the tail quantiles (fewer than 2 / (1 - confidence)).
/// @throws NumericalError if the estimate on the sample itself is not finite, if more replicates
///         are undefined than allowed, and for BCa if a delete-one estimate is not finite.
TIEROD_API BootstrapResult cluster_bootstrap(const BatchEstimator& estimator, std::size_t clusters,
                                             const BootstrapOptions& options = {});
TIEROD_API BootstrapResult cluster_bootstrap(const Estimator& estimator, std::size_t clusters,
                                             const BootstrapOptions& options = {});
/// For the studentised method: theta - t*_{hi} se .. theta - t*_{lo} se, with the quantiles of
/// t* = (theta* - theta) / se*. @throws also InvalidArgument for another method.
TIEROD_API BootstrapResult cluster_bootstrap(const StudentisedEstimator& estimator,
                                             std::size_t clusters, const BootstrapOptions& options);

/// Return the bootstrap interval of a ratio of sums, sum(numerator) / sum(denominator) over rows,
/// never the mean of ratios, whose expectation need not exist. The studentised method takes the
/// delta-method standard error of the clusters' sums.
///
/// @param numerator, denominator  one number a row [n]
/// @param groups                  the independent unit of each row [n]
/// @throws as `cluster_bootstrap`; NumericalError also if the denominators sum to 0.
TIEROD_API BootstrapResult ratio_of_sums(std::span<const double> numerator,
                                         std::span<const double> denominator,
                                         std::span<const std::int64_t> groups,
                                         const BootstrapOptions& options = {});

}  // namespace tierod::stats

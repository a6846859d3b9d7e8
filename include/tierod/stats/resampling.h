#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Compute an estimate from weights of the clusters [G]: how often cluster g counts. All ones is
/// the sample itself; a bootstrap replicate has multinomial counts, a delete-group refit zeros. The
/// callback refits whatever it estimates: probe, direction, normalisation. Where a replicate leaves
/// the estimate undefined (one class only), it returns NaN.
using Estimator = std::function<double(std::span<const double> weights)>;

/// Compute a block of estimates at once: weights [R, G] row-major -> estimates [R]. Many estimators
/// are then one matrix product.
using BatchEstimator =
    std::function<void(std::span<const double> weights, std::span<double> estimates)>;

/// Hold an estimate with its own standard error, as the studentised bootstrap needs it.
struct TIEROD_API Estimate {
  double value = 0;
  double standard_error = 0;
};
using StudentisedEstimator = std::function<Estimate(std::span<const double> weights)>;

/// Return a BatchEstimator that calls `estimator` for one row of weights after the other.
TIEROD_API BatchEstimator one_by_one(Estimator estimator);

/// Fill `weights` [G] with the multinomial counts of bootstrap replicate number `replicate`: G
/// draws with replacement, a pure function of (seed, replicate, G) and so of no batch or thread.
/// @throws InvalidArgument if `weights` is empty.
TIEROD_API void bootstrap_weights(std::uint64_t seed, std::size_t replicate,
                                  std::span<double> weights);

/// Assign clusters to `blocks` blocks whose sizes differ by at most one, at random by the counters
/// of `seed`; returns the block [G] of each cluster.
/// @throws InvalidArgument unless 2 <= blocks <= clusters.
TIEROD_API std::vector<std::uint32_t> jackknife_blocks(std::size_t clusters, std::size_t blocks,
                                                       std::uint64_t seed = 0);

}  // namespace tierod::stats

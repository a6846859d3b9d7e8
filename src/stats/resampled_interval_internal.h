#pragma once

#include <cstddef>

#include "tierod/stats/ranking.h"
#include "tierod/stats/resampling.h"

namespace tierod::internal {

/// Return the interval of an estimate that is a function of the clusters' weights, by the options'
/// method: automatic is BCa from 30 clusters on and the jackknife below; `measure` plays no part.
stats::Interval resampled_interval(const stats::Estimator& estimator, std::size_t clusters,
                                   const stats::RankingOptions& options);

}  // namespace tierod::internal

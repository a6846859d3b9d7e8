#include "stats/resampled_interval_internal.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/stats/jackknife.h"

namespace tierod::internal {

namespace {

// Measured: with fewer clusters bootstrap intervals are too short
// (docs/benchmarks/stats_tables.md).
constexpr std::size_t kBootstrapClusters = 30;

}  // namespace

stats::Interval resampled_interval(const stats::Estimator& estimator, std::size_t clusters,
                                   const stats::RankingOptions& options) {
  using stats::RankingMethod;
  const bool few = options.method == RankingMethod::automatic && clusters < kBootstrapClusters;
  if (few || options.method == RankingMethod::jackknife) {
    return stats::jackknife_interval(estimator, clusters, 0, options.confidence, options.seed);
  }
  const stats::BootstrapOptions bootstrap{.method = options.method == RankingMethod::percentile
                                                        ? stats::BootstrapMethod::percentile
                                                        : stats::BootstrapMethod::bca,
                                          .replicates = options.replicates,
                                          .confidence = options.confidence,
                                          .seed = options.seed,
                                          .threads = options.threads,
                                          .max_undefined = options.max_undefined};
  return stats::cluster_bootstrap(estimator, clusters, bootstrap).interval;
}

}  // namespace tierod::internal

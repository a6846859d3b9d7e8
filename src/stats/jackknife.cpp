#include "tierod/stats/jackknife.h"

#include <algorithm>
#include <cmath>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_finite;
using tierod::internal::real;
using tierod::internal::scatter_of;

std::vector<double> delete_group_refits(const Estimator& estimator, std::size_t clusters,
                                        std::size_t blocks, std::uint64_t seed) {
  const std::vector<std::uint32_t> block = jackknife_blocks(clusters, blocks, seed);
  std::vector<double> refits(blocks), weights(clusters);
  for (std::size_t k = 0; k < blocks; ++k) {
    for (std::size_t g = 0; g < clusters; ++g) weights[g] = block[g] == k ? 0.0 : 1.0;
    refits[k] = estimator(weights);
    if (!std::isfinite(refits[k])) {
      throw NumericalError(cat("[stats.delete_group_refits] the refit without block ", k, " of ",
                               blocks, " gave ", refits[k],
                               "; it may have lost a class: use more groups or fewer blocks"));
    }
  }
  return refits;
}

double delete_group_variance(std::span<const double> refits) {
  constexpr auto* where = "stats.delete_group_variance";
  check_at_least(refits.size(), 2, where, "refits", "delete more than one block");
  check_finite(refits, where, "refits");
  const double k = real(refits.size());
  return (k - 1) / k * scatter_of(refits);
}

Interval jackknife_interval(const Estimator& estimator, std::size_t clusters, std::size_t blocks,
                            double confidence, std::uint64_t seed) {
  if (blocks == 0) blocks = clusters;
  const std::vector<double> refits = delete_group_refits(estimator, clusters, blocks, seed);
  const double estimate = estimator(std::vector<double>(clusters, 1.0));
  Interval out =
      t_interval(estimate, std::sqrt(delete_group_variance(refits)), real(blocks - 1), confidence);
  out.clusters = clusters;
  out.method = "jackknife t";
  return out;
}

RefitInterval refit_interval(const Influence& test, std::span<const double> refits,
                             double confidence) {
  RefitInterval out;
  out.refits = refits.size();
  out.refit_variance = delete_group_variance(refits);
  out.test_variance = influence_variance(test.contributions);
  const std::size_t clusters = test.contributions.size();
  out.interval = t_interval(test.estimate, std::sqrt(out.refit_variance + out.test_variance),
                            real(std::min(refits.size(), clusters) - 1), confidence);
  out.interval.clusters = clusters;
  out.interval.method = "refit jackknife t";
  return out;
}

}  // namespace tierod::stats

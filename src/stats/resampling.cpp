#include "tierod/stats/resampling.h"

#include <algorithm>
#include <utility>

#include "stats/check_internal.h"
#include "stats/shuffle_internal.h"
#include "tierod/core/random.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_not_empty;
using tierod::internal::scaled;
using tierod::internal::shuffle;

BatchEstimator one_by_one(Estimator estimator) {
  return [estimator = std::move(estimator)](std::span<const double> weights,
                                            std::span<double> estimates) {
    const std::size_t clusters = weights.size() / estimates.size();
    for (std::size_t r = 0; r < estimates.size(); ++r) {
      estimates[r] = estimator(weights.subspan(r * clusters, clusters));
    }
  };
}

void bootstrap_weights(std::uint64_t seed, std::size_t replicate, std::span<double> weights) {
  check_not_empty(weights.size(), "stats.bootstrap_weights", "clusters");
  std::fill(weights.begin(), weights.end(), 0.0);
  const CounterRandom random(seed, "stats.bootstrap");
  const std::size_t clusters = weights.size();
  for (std::size_t pair = 0; 2 * pair < clusters; ++pair) {
    // one block serves two draws
    const auto words = random.block(replicate, static_cast<std::uint32_t>(pair), 0);
    weights[scaled(words[0], words[1], clusters)] += 1;
    if (2 * pair + 1 < clusters) weights[scaled(words[2], words[3], clusters)] += 1;
  }
}

std::vector<std::uint32_t> jackknife_blocks(std::size_t clusters, std::size_t blocks,
                                            std::uint64_t seed) {
  if (blocks < 2 || blocks > clusters) {
    throw InvalidArgument(cat("[stats.jackknife_blocks] expected 2 <= blocks <= clusters (",
                              clusters, "), got ", blocks,
                              "; with few clusters delete one at a time: blocks = clusters"));
  }
  std::vector<std::uint32_t> block(clusters);
  for (std::size_t g = 0; g < clusters; ++g) block[g] = static_cast<std::uint32_t>(g % blocks);
  if (blocks < clusters) shuffle(std::span(block), CounterRandom(seed, "stats.jackknife"), 0, 0);
  return block;
}

}  // namespace tierod::stats

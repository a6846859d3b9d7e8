#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "stats/shuffle_internal.h"
#include "tierod/core/random.h"

namespace tierod::internal {

/// Return the fold [G] of each group: dealt in turn, stratum by stratum, in random order. Labels
/// play no part, so that they may be permuted under fixed folds.
inline std::vector<std::size_t> deal_folds(std::span<const std::int64_t> strata, std::size_t groups,
                                           std::size_t folds, std::uint64_t seed) {
  std::vector<std::size_t> order(groups);
  std::iota(order.begin(), order.end(), std::size_t{0});
  shuffle(std::span(order), CounterRandom(seed, "stats.folds"), 0, 0);
  if (!strata.empty()) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return strata[a] < strata[b]; });
  }
  std::vector<std::size_t> fold(groups);
  for (std::size_t i = 0; i < groups; ++i) fold[order[i]] = i % folds;
  return fold;
}

}  // namespace tierod::internal

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>

#include "stats/check_internal.h"

namespace tierod::internal {

/// Count T_b >= T. A permutation that restores the observed arrangement sums in another order: what
/// is equal up to rounding counts as equal, which can only raise p.
inline std::size_t count_reaching(std::span<const double> null, double observed) {
  double scale = std::abs(observed);
  for (const double t : null) scale = std::max(scale, std::abs(t));
  const double bound = observed - 1e-12 * scale;
  return static_cast<std::size_t>(
      std::count_if(null.begin(), null.end(), [&](double t) { return t >= bound; }));
}

inline double permutation_p(std::size_t reaching, std::size_t permutations) {
  return real(reaching + 1) / real(permutations + 1);
}

/// Say that no p of this test can reach `alpha`; empty if one can.
inline std::string cannot_reach(double smallest_p, double alpha, std::size_t permutations) {
  if (smallest_p <= alpha) return {};
  const bool few = 1 / real(permutations + 1) > alpha;
  return cat("no p below ", smallest_p, " is possible here, so that ", alpha,
             " cannot be reached: ",
             few ? cat("use at least ", std::ceil(1 / alpha - 1 - 1e-9), " permutations")
                 : std::string("the groups have too few different arrangements"));
}

}  // namespace tierod::internal

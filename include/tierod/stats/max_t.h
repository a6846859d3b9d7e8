#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Hold p values of several sites that share their permutations, adjusted for the search over them.
struct TIEROD_API MaxT {
  std::vector<double> p;            ///< [S] of each site alone, unadjusted
  std::vector<double> single_step;  ///< [S] (1 + #{max_s T_bs >= T_s}) / (B + 1)
  std::vector<double> step_down;    ///< [S] never above single_step
  double threshold = 0;  ///< T beyond which single_step <= alpha; infinite if none can be
  std::size_t permutations = 0;
  double smallest_p = 1;
  std::string note;  ///< says so when `permutations` cannot reach alpha
};

/// Adjust statistics [S] by the maximum over sites of their permuted versions, single-step and
/// step-down (Westfall & Young 1993; Ge, Dudoit & Speed 2003, boxes 1 and 2). It controls the
/// chance of any false site under every dependence between sites, since they share their
/// permutations. Larger statistics are more extreme, and sites must be on one scale (t, AUROC).
///
/// @param observed  [S]
/// @param permuted  [B, S] row-major: row b holds all sites under permutation b
/// @throws InvalidArgument if `permuted` is not B >= 1 rows of S, or alpha not inside (0, 1).
/// @throws NumericalError if a statistic is not finite.
TIEROD_API MaxT max_t(std::span<const double> observed, std::span<const double> permuted,
                      double alpha = 0.05);

}  // namespace tierod::stats

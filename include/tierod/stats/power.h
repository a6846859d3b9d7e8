#pragma once

#include <cstddef>

#include "tierod/export.h"

namespace tierod::stats {

/// Return the standard deviation of a cluster mean of `rows` rows:
/// sd sqrt(icc + (1 - icc) / rows). More rows of the same scenes cannot push it below sd sqrt(icc).
///
/// @param sd   standard deviation of a row
/// @param icc  intraclass correlation, from `cluster_design`
/// @throws InvalidArgument unless sd > 0, 0 <= icc <= 1 and rows >= 1.
TIEROD_API double cluster_mean_sd(double sd, double icc, std::size_t rows);

/// Return the power of the two-sided t test of a mean over `groups` independent groups, by the
/// noncentral t distribution with noncentrality sqrt(groups) effect / sd.
///
/// @param effect  true mean, in the unit of sd
/// @param sd      standard deviation between group means
/// @throws InvalidArgument unless effect is finite, sd > 0, groups >= 2 and alpha inside (0, 1).
TIEROD_API double t_test_power(double effect, double sd, std::size_t groups, double alpha = 0.05);

/// Return the power of `tost` within +-margin over `groups` independent groups: the chance that the
/// (1 - 2 alpha) interval lies inside, integrated over the distribution of the estimated error
/// (Phillips 1990).
///
/// @param effect  true mean; 0 for a concept that is not used at all
/// @throws InvalidArgument as `t_test_power`; also unless margin > 0 and alpha < .5.
TIEROD_API double equivalence_power(double margin, double effect, double sd, std::size_t groups,
                                    double alpha = 0.05);

/// Hold how many groups a claim needs.
struct TIEROD_API GroupPlan {
  std::size_t groups = 0;
  double power = 0;  ///< with that many groups
};

/// Return the least number of independent groups with which the two-sided t test finds `effect`
/// with at least `power`.
/// @throws InvalidArgument unless effect is not 0, sd > 0, power and alpha inside (0, 1); or if
/// more
///         than `most` groups would be needed.
TIEROD_API GroupPlan groups_for_effect(double effect, double sd, double power = 0.8,
                                       double alpha = 0.05, std::size_t most = 10'000'000);

/// Return the least number of independent groups with which `tost` shows equivalence within
/// +-margin with at least `power` when the truth is `effect`.
/// @throws InvalidArgument unless |effect| < margin, and as above.
TIEROD_API GroupPlan groups_for_equivalence(double margin, double effect, double sd,
                                            double power = 0.8, double alpha = 0.05,
                                            std::size_t most = 10'000'000);

}  // namespace tierod::stats

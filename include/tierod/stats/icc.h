#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tierod/export.h"

namespace tierod::stats {

/// Hold how much rows of one cluster repeat each other.
struct TIEROD_API ClusterDesign {
  double icc = 0;               ///< intraclass correlation, may come out below 0
  double between_variance = 0;  ///< ANOVA estimate, may come out below 0
  double within_variance = 0;
  /// sum m_g^2 / n: the size of the cluster in which a random row lies (Kish 1965).
  double mean_cluster_rows = 0;
  /// 1 + (mean_cluster_rows - 1) max(icc, 0): the factor on the variance of a mean of rows.
  double design_effect = 1;
  /// n / design_effect: as many independent rows would tell as much.
  double effective_rows = 0;
  std::size_t rows = 0;
  std::size_t clusters = 0;
};

/// Estimate the intraclass correlation by one-way random-effects ANOVA, ICC(1) of Shrout & Fleiss
/// (1979), with the size n0 = (n - sum m_g^2 / n) / (G - 1) for unequal clusters (Donner 1986), and
/// from it the design effect and the effective sample size.
///
/// @throws InvalidArgument on differing lengths, fewer than 2 clusters, or clusters of one row
/// only.
/// @throws NumericalError if a value is not finite, or all values are equal.
TIEROD_API ClusterDesign cluster_design(std::span<const double> values,
                                        std::span<const std::int64_t> groups);

}  // namespace tierod::stats

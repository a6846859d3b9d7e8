#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tierod/export.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/interval.h"

namespace tierod::stats {

/// Return the area under the ROC curve, P(score of a 1 > score of a 0) + P(equal) / 2: ties count
/// half, exactly, in any order of the rows (Hanley & McNeil 1982).
///
/// @param scores   one number a row [n]; larger means more likely 1
/// @param labels   0 or 1 a row [n]
/// @param weights  [n], >= 0; empty for equal weights
/// @throws InvalidArgument on differing lengths, other labels, a class that is absent or without
///         weight.
/// @throws NumericalError if a score or weight is not finite.
TIEROD_API double auroc(std::span<const double> scores, std::span<const std::uint8_t> labels,
                        std::span<const double> weights = {});

/// Return the area under the precision-recall curve as average precision,
/// sum over thresholds of (R_t - R_{t-1}) P_t, with tied scores at one threshold. Chance is the
/// prevalence, not .5.
/// @throws as `auroc`.
TIEROD_API double auprc(std::span<const double> scores, std::span<const std::uint8_t> labels,
                        std::span<const double> weights = {});

/// Return the AUROC with its clusters' contributions, from the placement values of DeLong, DeLong &
/// Clarke-Pearson (1988) summed within clusters (Obuchowski 1997), so that positives and negatives
/// of one scene may depend on each other.
/// @throws as `auroc`, and InvalidArgument with fewer than 2 clusters.
TIEROD_API Influence auroc_influence(std::span<const double> scores,
                                     std::span<const std::uint8_t> labels,
                                     std::span<const std::int64_t> groups);

enum class RankingMeasure : std::uint8_t { auroc, auprc };

enum class RankingMethod : std::uint8_t {
  automatic,   ///< bca from 30 clusters on, jackknife below
  influence,   ///< t interval of `auroc_influence`; AUROC only
  jackknife,   ///< t interval, one cluster deleted at a time
  percentile,  ///< cluster bootstrap
  bca,         ///< cluster bootstrap
};

struct TIEROD_API RankingOptions {
  RankingMeasure measure = RankingMeasure::auroc;
  RankingMethod method = RankingMethod::automatic;
  double confidence = 0.95;
  std::size_t replicates = 2000;
  std::uint64_t seed = 0;
  /// Share of bootstrap replicates that may lack a class.
  double max_undefined = 0;
  std::size_t threads = 1;
};

/// Return AUROC or AUPRC with an interval that resamples whole clusters. The scores count as given:
/// they come from a probe that was fitted on other clusters.
/// @throws as `auroc`; InvalidArgument with fewer than 2 clusters or for an influence interval of
///         the AUPRC; NumericalError if a resample lacks a class more often than allowed.
TIEROD_API Interval ranking_interval(std::span<const double> scores,
                                     std::span<const std::uint8_t> labels,
                                     std::span<const std::int64_t> groups,
                                     const RankingOptions& options = {});

/// Return the difference a - b of two scores of the same rows: every resample draws the same
/// clusters for both, which is what makes the difference precise.
/// @throws as `ranking_interval`.
TIEROD_API Interval ranking_difference(std::span<const double> scores_a,
                                       std::span<const double> scores_b,
                                       std::span<const std::uint8_t> labels,
                                       std::span<const std::int64_t> groups,
                                       const RankingOptions& options = {});

}  // namespace tierod::stats

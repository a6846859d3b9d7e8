#pragma once

#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "probe/concept_plan_internal.h"
#include "tierod/probe/evaluation.h"

namespace tierod::internal {

// Note [The error of a cross-validated AUROC]
// Intervals take the held-out scores as given. Where there is no signal, the scores of two groups i
// and j repeat each other's error: i is scored by a probe that saw j's label and j by one that saw
// i's, both by z_i z_j x_i'x_j. The variance of the sum is then twice what the contributions show
// (an interval around .5 that says 95 % covers 83 %), and with strong signal it is right. So a
// claim of absence takes twice the variance, and a claim of presence needs the permutation p as
// well.
inline constexpr double kRepeatedError = std::numbers::sqrt2;

/// View the doubles of row `row` of a contiguous f64 matrix.
std::span<const double> row_of(const at::Tensor& matrix, std::size_t row);

/// Return in how many units the class lies that lies in fewer.
std::size_t rarest_units(std::span<const std::uint8_t> labels, std::span<const std::int64_t> units);

/// Return the paired difference of an AUROC and the mean AUROC of control tasks, whose labels are
/// others but whose units are the same: a resample draws the same units for all.
/// @param control_scores, control_labels  [draws][n]
stats::Interval control_difference(std::span<const double> scores,
                                   std::span<const std::uint8_t> labels,
                                   const std::vector<std::vector<double>>& control_scores,
                                   const std::vector<std::vector<std::uint8_t>>& control_labels,
                                   std::span<const std::int64_t> units,
                                   const stats::RankingOptions& options);

/// Return an interval of NaN.
stats::Interval no_interval();

/// Hold what bounds a score less the better of its baselines from above, and the p of "less than
/// the margin".
struct Bound {
  double upper = 0;
  double p = 1;
  std::string note;
};
/// @param differences  of the score to each of the baselines (Note [The better of several
///                     baselines])
Bound bound_of(std::span<const stats::Interval> differences,
               const probe::EvaluationOptions& options);

/// Fill p, p_max_t, p_method of all rows [sites x concepts]; where there is none, `note` says why.
/// @param plans   [concepts]
/// @param scores  [sites][concepts][known rows] held out, of a probe that is not linear; empty for
///                linear ones, whose p comes from permutations
void add_p_values(const probe::ProbeDataset& dataset, const probe::EvaluationOptions& options,
                  std::span<const ConceptPlan> plans,
                  const std::vector<std::vector<std::vector<double>>>& scores,
                  std::vector<probe::EvaluationRow>& rows, std::vector<std::string>& notes);

}  // namespace tierod::internal

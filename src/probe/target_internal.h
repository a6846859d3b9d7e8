#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tierod/probe/target_evaluation.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/ranking.h"

namespace tierod::internal {

/// Hold target tracks (targets and their control tasks) that share rows and folds.
struct TargetTask {
  at::Tensor rows;                          ///< [n, d]
  std::vector<std::vector<double>> tracks;  ///< [T][n]
  std::vector<std::uint32_t> folds;         ///< [n]
  std::size_t fold_count = 0;
};

struct TargetScores {
  at::Tensor predictions;  ///< f64 [T, n], held out, in the target's unit
  at::Tensor references;   ///< f64 [T, n] mean target of the training rows
  /// f64 [T, n] predictions less the reference, over their standard deviation among training rows:
  /// what may be pooled over folds, since offset and scale of fits differ
  at::Tensor scores;
  std::vector<std::vector<std::size_t>> settings;  ///< [T][K] chosen
  std::vector<double> condition;                   ///< [T] worst of the chosen outer fits, or NaN
  std::vector<std::vector<std::string>> notes;     ///< [T] different ones of the chosen outer fits
};

/// Predict every fold by a fit without it, under the setting whose inner held-out squared error is
/// least (Note [Nested evaluation]).
TargetScores nested_targets(const probe::LinearFitter& fitter, const TargetTask& task);

/// Say what is missing unless the numbers vary whenever any two folds are taken away (one, if there
/// are two).
std::string constant_without(std::span<const double> values, std::span<const std::uint32_t> folds,
                             std::size_t fold_count);

/// Hold what an evaluation knows of a target before it sees a site.
struct TargetPlan {
  std::string name;
  std::vector<std::size_t> rows;  // with a known target
  std::vector<double> values;
  std::vector<std::int64_t> units;
  std::vector<std::uint32_t> folds;
  std::vector<std::vector<double>> controls;  // type-keyed draws
  std::vector<double> group_control;          // empty: none
  at::Tensor nuisance_predictions;            // [n], undefined: none
  double recurrence = std::numeric_limits<double>::quiet_NaN();
  std::string refusal, note;
};

TargetPlan plan_target(const probe::ProbeDataset& dataset, const std::string& name,
                       std::span<const std::int64_t> units, std::span<const std::uint32_t> folds,
                       std::span<const std::int64_t> types,
                       const probe::EvaluationOptions& options);

/// Hold squared errors by unit, of which R2 is a function: a resample only weighs them.
class UnitErrors {
 public:
  /// @param values, predictions, references  [n]
  UnitErrors(const stats::Clusters& units, std::span<const double> values,
             std::span<const double> predictions, std::span<const double> references);
  /// Return 1 - sum of squared errors / sum of squares about the references, NaN without the
  /// latter.
  double r2(std::span<const double> weights) const;
  double r2() const;
  stats::Influence influence() const;

 private:
  std::vector<double> errors_, totals_;  // [G]
};

/// Return the interval of the R2 less the mean R2 of baselines on the same units, if there are any.
stats::Interval r2_interval(const UnitErrors& own, std::span<const UnitErrors> baselines,
                            std::size_t units, const stats::RankingOptions& options);

/// Return the interval of the correlation of two numbers a row, or of their ranks: on Fisher's
/// scale, z = artanh r, and back. NaN where one does not vary.
stats::Interval correlation_interval(const stats::Clusters& units, std::span<const double> a,
                                     std::span<const double> b, bool ranks,
                                     const stats::RankingOptions& options);

/// Hold the nested predictions of targets that share rows, with where their tracks stand.
struct SiteTargets {
  TargetScores nested, memorised;
  std::vector<std::size_t> first_control;                 // track of the first type control
  std::vector<std::optional<std::size_t>> group_control;  // track, if there is one
};

/// Return the row of a cell that nothing is known of yet: all NaN, with the plan's notes.
probe::TargetRow empty_target_row(const TargetPlan& plan, const std::string& site);

/// Fill a row with everything but its p.
/// @param m          which of the targets of `found`
/// @param untrained  of the same targets under random initialisation, or null
void fill_target_row(probe::TargetRow& row, const TargetPlan& plan, const SiteTargets& found,
                     std::size_t m, const SiteTargets* untrained,
                     const stats::RankingOptions& ranking, const probe::EvaluationOptions& options);

/// Fill p, p_max_t, p_method of all rows [sites x targets]; where there is none, `note` says why.
void add_target_p_values(const probe::ProbeDataset& dataset,
                         const probe::EvaluationOptions& options, std::span<const TargetPlan> plans,
                         std::vector<probe::TargetRow>& rows, std::vector<std::string>& notes);

}  // namespace tierod::internal

#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tierod/probe/evaluation.h"

namespace tierod::internal {

inline constexpr auto* kEvaluate = "probe.evaluate";

// Below so many units of a class its resamples often lack it, and t intervals must not count the
// other units as evidence on it.
inline constexpr std::size_t kFewUnits = 10;

/// Hold what an evaluation knows of a concept before it sees a site.
struct ConceptPlan {
  std::string name;
  std::vector<std::size_t> rows;  // with a known label
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> units;
  std::vector<std::uint32_t> folds;
  std::vector<std::vector<std::uint8_t>> controls;  // type-keyed draws
  std::vector<std::uint8_t> group_control;          // empty: none
  std::vector<double> nuisance_scores;              // empty: none
  double nuisance_auroc = std::numeric_limits<double>::quiet_NaN();
  double recurrence = std::numeric_limits<double>::quiet_NaN();  // of its types
  std::size_t rare = 0;                                          // units of the rarer class
  std::size_t rare_control = 0, rare_group_control = 0;
  std::string refusal, note;
};

/// Return the plan of a concept, with its control labels; `refusal` says why there is none.
ConceptPlan plan_concept(const probe::ProbeDataset& dataset, const std::string& name,
                         std::span<const std::int64_t> units, std::span<const std::uint32_t> folds,
                         std::span<const std::int64_t> types,
                         const probe::EvaluationOptions& options);

/// Score the nuisance-only probe of a concept, where there is a nuisance.
void score_nuisances(const probe::ProbeDataset& dataset, ConceptPlan& plan,
                     const probe::EvaluationOptions& options);

/// Refuse, before any fit, what would fail after hours of them.
/// @throws InvalidArgument
void check_evaluation(const probe::ProbeDataset& dataset, const probe::EvaluationOptions& options,
                      const probe::ProbeDataset* random_init);
/// The same for targets.
void check_target_evaluation(const probe::ProbeDataset& dataset,
                             const probe::EvaluationOptions& options,
                             const probe::ProbeDataset* random_init);
/// Say which of the parts of an evaluation there will not be, and why.
std::vector<std::string> missing_parts(const probe::EvaluationOptions& options,
                                       const std::vector<std::int64_t>& types,
                                       const std::string& instead);
void check_strata(const probe::ProbeDataset& dataset, const std::string& level,
                  std::span<const std::int64_t> units);

std::size_t count_different(std::span<const std::int64_t> ids);

/// Of rows whose type occurs in another fold, for a control task to mean anything.
inline constexpr double kLeastRecurrence = 0.5;
/// Return the share of rows whose type occurs in another fold. What types that never recur are
/// given cannot be read from other folds, and a control task of them would be chance by
/// construction.
double recurrence(std::span<const std::int64_t> types, std::span<const std::uint32_t> folds);
/// Say that there is no control task for want of recurrence.
std::string no_recurrence(double share);

template <typename T>
std::vector<T> picked(std::span<const T> values, const std::vector<std::size_t>& rows) {
  std::vector<T> out;
  out.reserve(rows.size());
  for (const std::size_t i : rows) out.push_back(values[i]);
  return out;
}

}  // namespace tierod::internal

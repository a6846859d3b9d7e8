#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/nested_internal.h"
#include "stats/check_internal.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/standardised_fitter.h"

namespace tierod::internal {

double recurrence(std::span<const std::int64_t> types, std::span<const std::uint32_t> folds) {
  std::map<std::int64_t, std::set<std::uint32_t>> folds_of;
  for (std::size_t i = 0; i < types.size(); ++i) folds_of[types[i]].insert(folds[i]);
  std::size_t recurring = 0;
  for (const std::int64_t type : types) recurring += folds_of[type].size() > 1 ? 1 : 0;
  return real(recurring) / real(types.size());
}

std::string no_recurrence(double share) {
  return cat(
      "no control task: ", std::llround(100 * share),
      " % of the rows have a type that occurs in another fold, so that it would be chance by "
      "construction; give coarser types");
}

std::size_t count_different(std::span<const std::int64_t> ids) {
  return std::set<std::int64_t>(ids.begin(), ids.end()).size();
}

ConceptPlan plan_concept(const probe::ProbeDataset& dataset, const std::string& name,
                         std::span<const std::int64_t> units, std::span<const std::uint32_t> folds,
                         std::span<const std::int64_t> types,
                         const probe::EvaluationOptions& options) {
  ConceptPlan plan{.name = name};
  const std::span<const std::uint8_t> all = dataset.labels(name);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] != kMissingLabel) plan.rows.push_back(i);
  }
  plan.labels = picked(all, plan.rows);
  plan.units = picked(units, plan.rows);
  plan.folds = picked(folds, plan.rows);
  plan.refusal = missing_class(plan.labels, plan.folds, options.folds);
  if (!plan.refusal.empty()) {
    plan.refusal = cat("refused: ", plan.refusal, "; use fewer folds or more groups");
    return plan;
  }
  plan.rare = rarest_units(plan.labels, plan.units);
  plan.rare_control = plan.rare;
  if (plan.rare < kFewUnits) {
    plan.note = cat("its rarer class lies in ", plan.rare, " units: t intervals with ",
                    plan.rare - 1, " degrees of freedom");
  }
  if (!types.empty()) {
    const std::vector<std::int64_t> keys = picked(types, plan.rows);
    plan.recurrence = recurrence(keys, plan.folds);
    if (count_different(keys) < 2) {
      add_note(plan.note, "no control task: all rows have one type");
    } else if (plan.recurrence < kLeastRecurrence) {
      add_note(plan.note, no_recurrence(plan.recurrence));
    } else {
      std::size_t unusable = 0;
      for (std::size_t draw = 0; draw < options.control_draws; ++draw) {
        std::vector<std::uint8_t> control =
            probe::control_labels(keys, plan.labels, options.seed, draw);
        if (missing_class(control, plan.folds, options.folds).empty()) {
          plan.rare_control = std::min(plan.rare_control, rarest_units(control, plan.units));
          plan.controls.push_back(std::move(control));
        } else {
          ++unusable;
        }
      }
      if (unusable > 0) {
        add_note(plan.note, cat(unusable, " of ", options.control_draws,
                                " control tasks have types in too few folds"));
      }
    }
  }
  if (!options.memorisation) return plan;
  std::vector<std::uint8_t> control = probe::control_labels(plan.units, plan.labels, options.seed);
  if (missing_class(control, plan.folds, options.folds).empty()) {
    plan.rare_group_control = std::min(plan.rare, rarest_units(control, plan.units));
    plan.group_control = std::move(control);
  } else {
    add_note(plan.note, "no group-keyed control: a class of it lies in too few folds");
  }
  return plan;
}

// The nuisance-only probe: ridge on what co-occurs, as nested as the probe itself, on columns that
// the training rows standardise. Where bins are cut is the one thing that all rows decide; it knows
// no label.
void score_nuisances(const probe::ProbeDataset& dataset, ConceptPlan& plan,
                     const probe::EvaluationOptions& options) {
  const at::Tensor design =
      dataset.design(dataset.companions(plan.name, options.concepts_as_nuisances));
  if (design.size(1) == 0) return;
  NestedTask task{.rows = design.index_select(0, index_of(plan.rows)),
                  .tracks = {plan.labels},
                  .folds = plan.folds,
                  .fold_count = options.folds,
                  .groups = plan.units,
                  .seed = options.seed};
  const auto n = static_cast<double>(plan.rows.size());
  const NestedScores nested =
      nested_scores(probe::StandardisedFitter(std::make_shared<probe::RidgeFitter>(
                        std::vector<double>{1e-4 * n, 1e-2 * n, 1e-1 * n, n})),
                    task);
  const std::span<const double> scores = row_of(nested.scores, 0);
  plan.nuisance_scores.assign(scores.begin(), scores.end());
  plan.nuisance_auroc = stats::auroc(scores, plan.labels);
}

}  // namespace tierod::internal

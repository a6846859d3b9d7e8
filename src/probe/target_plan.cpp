#include <algorithm>
#include <cmath>
#include <memory>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/target_internal.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/standardised_fitter.h"

namespace tierod::internal {

namespace {

void add_controls(TargetPlan& plan, std::span<const std::int64_t> types,
                  const probe::EvaluationOptions& options) {
  const std::vector<std::int64_t> keys = picked(types, plan.rows);
  plan.recurrence = recurrence(keys, plan.folds);
  if (count_different(keys) < 2) {
    add_note(plan.note, "no control task: all rows have one type");
    return;
  }
  if (plan.recurrence < kLeastRecurrence) {
    add_note(plan.note, no_recurrence(plan.recurrence));
    return;
  }
  std::size_t unusable = 0;
  for (std::size_t draw = 0; draw < options.control_draws; ++draw) {
    std::vector<double> control = probe::control_targets(keys, plan.values, options.seed, draw);
    if (constant_without(control, plan.folds, options.folds).empty()) {
      plan.controls.push_back(std::move(control));
    } else {
      ++unusable;
    }
  }
  if (unusable > 0) {
    add_note(plan.note, cat(unusable, " of ", options.control_draws,
                            " control tasks do not vary in all training parts"));
  }
}

// The nuisance-only probe: ridge on what goes along, as nested as the probe itself.
void predict_from_nuisances(const probe::ProbeDataset& dataset, TargetPlan& plan,
                            const probe::EvaluationOptions& options) {
  std::vector<std::string> names = dataset.companions(plan.name, options.concepts_as_nuisances);
  // a nuisance of the target's own name is the target
  names.erase(std::remove(names.begin(), names.end(), plan.name), names.end());
  const at::Tensor design = dataset.design(names);
  if (design.size(1) == 0) {
    add_note(plan.note, "no nuisance-only probe: no nuisance and no concept");
    return;
  }
  const TargetTask task{.rows = design.index_select(0, index_of(plan.rows)),
                        .tracks = {plan.values},
                        .folds = plan.folds,
                        .fold_count = options.folds};
  const auto n = static_cast<double>(plan.rows.size());
  plan.nuisance_predictions =
      nested_targets(probe::StandardisedFitter(std::make_shared<probe::RidgeFitter>(
                         std::vector<double>{1e-4 * n, 1e-2 * n, 1e-1 * n, n})),
                     task)
          .predictions[0];
}

}  // namespace

TargetPlan plan_target(const probe::ProbeDataset& dataset, const std::string& name,
                       std::span<const std::int64_t> units, std::span<const std::uint32_t> folds,
                       std::span<const std::int64_t> types,
                       const probe::EvaluationOptions& options) {
  TargetPlan plan{.name = name};
  const std::span<const double> all = dataset.target(name);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!std::isnan(all[i])) plan.rows.push_back(i);
  }
  plan.values = picked(all, plan.rows);
  plan.units = picked(units, plan.rows);
  plan.folds = picked(folds, plan.rows);
  if (count_different(plan.units) < 2) {
    plan.refusal = "refused: it is known in fewer than 2 units; bring more groups";
    return plan;
  }
  plan.refusal = constant_without(plan.values, plan.folds, options.folds);
  if (!plan.refusal.empty()) {
    plan.refusal = cat("refused: ", plan.refusal, "; use fewer folds or more groups");
    return plan;
  }
  if (!types.empty()) add_controls(plan, types, options);
  predict_from_nuisances(dataset, plan, options);
  if (!options.memorisation) return plan;
  std::vector<double> control = probe::control_targets(plan.units, plan.values, options.seed);
  if (constant_without(control, plan.folds, options.folds).empty()) {
    plan.group_control = std::move(control);
  } else {
    add_note(plan.note, "no group-keyed control: it does not vary in all training parts");
  }
  return plan;
}

}  // namespace tierod::internal

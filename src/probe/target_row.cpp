#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/target_internal.h"
#include "stats/check_internal.h"
#include "tierod/stats/distributions.h"

namespace tierod::internal {

using stats::Interval;

probe::TargetRow empty_target_row(const TargetPlan& plan, const std::string& site) {
  probe::TargetRow row{.site = site, .target_name = plan.name};
  row.rows = static_cast<std::int64_t>(plan.rows.size());
  row.units = count_different(plan.units);
  for (const double y : plan.values) row.mean += y / real(plan.values.size());
  for (const double y : plan.values) {
    row.sd += (y - row.mean) * (y - row.mean) / real(plan.values.size());
  }
  row.sd = std::sqrt(row.sd);
  for (Interval* interval :
       {&row.r2, &row.pearson, &row.spearman, &row.above_control, &row.above_nuisance,
        &row.above_group_control, &row.learned, &row.above_best}) {
    *interval = no_interval();
  }
  for (double* value : {&row.rmse, &row.mae, &row.control_r2, &row.nuisance_r2,
                        &row.group_control_r2, &row.memorisation_r2, &row.upper, &row.equivalence_p,
                        &row.p, &row.p_max_t, &row.condition}) {
    *value = kNaN;
  }
  row.control_recurrence = plan.recurrence;
  row.note = plan.refusal;
  add_note(row.note, plan.note);
  return row;
}

namespace {

void add_fit_notes(probe::TargetRow& row, const TargetPlan& plan, const SiteTargets& found,
                   std::size_t m) {
  for (const std::string& note : found.nested.notes[m]) add_note(row.note, note);
  for (std::size_t d = 0; d < plan.controls.size(); ++d) {
    for (const std::string& note : found.nested.notes[found.first_control[m] + d]) {
      if (row.note.find(note) == std::string::npos) add_note(row.note, cat("control: ", note));
    }
  }
}

void add_errors(probe::TargetRow& row, std::span<const double> values,
                std::span<const double> predictions) {
  double squares = 0, absolute = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = values[i] - predictions[i];
    squares += error * error;
    absolute += std::abs(error);
  }
  row.rmse = std::sqrt(squares / real(values.size()));
  row.mae = absolute / real(values.size());
}

/// R2 of tracks of one target, on its units.
class Scored {
 public:
  Scored(const TargetPlan& plan, const stats::RankingOptions& ranking)
      : units_(plan.units, 2, "probe.evaluate_targets"), ranking_(ranking) {}
  const stats::Clusters& units() const noexcept { return units_; }
  UnitErrors errors(std::span<const double> values, const TargetScores& of,
                    std::size_t track) const {
    return {units_, values, row_of(of.predictions, track), row_of(of.references, track)};
  }
  Interval interval(const UnitErrors& own, std::span<const UnitErrors> baselines = {}) const {
    return r2_interval(own, baselines, units_.size(), ranking_);
  }

 private:
  stats::Clusters units_;
  const stats::RankingOptions& ranking_;
};

void add_correlations(probe::TargetRow& row, const TargetPlan& plan, const SiteTargets& found,
                      std::size_t m, const Scored& scored, const stats::RankingOptions& ranking) {
  const std::span<const double> score = row_of(found.nested.scores, m);
  const std::span<const double> reference = row_of(found.nested.references, m);
  std::vector<double> moved(plan.values);
  for (std::size_t i = 0; i < moved.size(); ++i) moved[i] -= reference[i];
  row.pearson = correlation_interval(scored.units(), score, moved, false, ranking);
  row.spearman = correlation_interval(scored.units(), score, moved, true, ranking);
  if (std::isnan(row.pearson.estimate)) {
    add_note(row.note, "the predictions do not vary: they have no correlation");
  }
}

// Note [Absence on the best scale]
// Where little is to be read, the inner folds choose a strong penalty, and predictions shrink to
// the mean: R2 is then 0 with hardly any error, however few the units, and its upper end would
// claim absence without power. The squared correlation is the R2 that the same predictions would
// reach on their best scale. It does not shrink, and its error stays that of the sample. So absence
// is bounded by it, with twice the variance (Note [The error of a cross-validated AUROC]) and
// against knowing nothing: a baseline's R2 shrinks likewise.
void add_bound(probe::TargetRow& row, const probe::EvaluationOptions& options) {
  const double r = row.pearson.estimate;
  if (std::isnan(r)) {  // nothing varies, nothing is read
    row.upper = 0;
    return;
  }
  if (1 - r * r <= 0) {  // of a perfect correlation Fisher's scale has no value
    row.upper = row.equivalence_p = 1;
    return;
  }
  const double error = kRepeatedError * row.pearson.standard_error / (1 - r * r);
  const double reach = stats::student_t_quantile(1 - options.alpha, row.pearson.df) * error;
  const double most = std::max(std::tanh(std::atanh(r) + reach), 0.0);
  row.upper = most * most;
  const double distance = std::atanh(std::sqrt(options.margin)) - std::atanh(r);
  row.equivalence_p = stats::student_t_cdf(-distance / error, row.pearson.df);
}

}  // namespace

void fill_target_row(probe::TargetRow& row, const TargetPlan& plan, const SiteTargets& found,
                     std::size_t m, const SiteTargets* untrained,
                     const stats::RankingOptions& ranking,
                     const probe::EvaluationOptions& options) {
  // first what cannot fail, so that a cell whose intervals do keeps it
  row.condition = found.nested.condition[m];
  row.setting = list_text(found.nested.settings[m]);
  add_fit_notes(row, plan, found, m);
  add_errors(row, plan.values, row_of(found.nested.predictions, m));
  const Scored scored(plan, ranking);
  const UnitErrors own = scored.errors(plan.values, found.nested, m);
  row.r2 = scored.interval(own);
  add_correlations(row, plan, found, m, scored, ranking);

  row.above_best = row.r2;  // no baseline may be worse than knowing nothing
  double baseline = 0;
  const auto against = [&](const Interval& difference, double r2) {
    if (!(r2 > baseline)) return;
    baseline = r2;
    row.above_best = difference;
  };
  if (!plan.controls.empty()) {
    std::vector<UnitErrors> controls;
    controls.reserve(plan.controls.size());
    row.control_r2 = 0;
    for (std::size_t d = 0; d < plan.controls.size(); ++d) {
      controls.push_back(scored.errors(plan.controls[d], found.nested, found.first_control[m] + d));
      row.control_r2 += controls.back().r2() / real(plan.controls.size());
    }
    row.above_control = scored.interval(own, controls);
    against(row.above_control, row.control_r2);
  }
  if (plan.nuisance_predictions.defined()) {
    const UnitErrors nuisance(scored.units(), plan.values,
                              row_of(plan.nuisance_predictions.unsqueeze(0), 0),
                              row_of(found.nested.references, m));
    row.nuisance_r2 = nuisance.r2();
    row.above_nuisance = scored.interval(own, {&nuisance, 1});
    against(row.above_nuisance, row.nuisance_r2);
  }
  add_bound(row, options);
  row.encoded = row.r2.low > 0 && (plan.controls.empty() || row.above_control.low > 0) &&
                (!plan.nuisance_predictions.defined() || row.above_nuisance.low > 0);

  const std::optional<std::size_t> memorised =
      found.group_control.empty() ? std::nullopt : found.group_control[m];
  if (memorised) {
    const UnitErrors control = scored.errors(plan.group_control, found.nested,
                                             found.first_control[m] + plan.controls.size());
    row.group_control_r2 = control.r2();
    row.above_group_control = scored.interval(own, {&control, 1});
    if (found.memorised.predictions.defined()) {
      row.memorisation_r2 = scored.errors(plan.group_control, found.memorised, *memorised).r2();
    } else {
      add_note(row.note, "no memorisation: groups have too few rows to be dealt to three folds");
    }
  }
  if (untrained != nullptr) {
    const UnitErrors other = scored.errors(plan.values, untrained->nested, m);
    row.learned = scored.interval(own, {&other, 1});
  }
}

}  // namespace tierod::internal

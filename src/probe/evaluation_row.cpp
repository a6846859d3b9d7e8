#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/text_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/evaluation_row_internal.h"
#include "stats/check_internal.h"
#include "tierod/stats/calibration.h"

namespace tierod::internal {

using stats::Interval;

namespace {

// Balanced error is least where the probability exceeds the prevalence of the training rows, which
// the calibrated probabilities' own mean stands for.
double balanced_accuracy(std::span<const double> probabilities,
                         std::span<const std::uint8_t> labels) {
  double mean = 0, right[2] = {}, count[2] = {};
  for (const double p : probabilities) mean += p / real(probabilities.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    count[labels[i]] += 1;
    right[labels[i]] += (probabilities[i] > mean) == (labels[i] == 1) ? 1 : 0;
  }
  return (right[0] / count[0] + right[1] / count[1]) / 2;
}

// A bootstrap of few units of a class draws resamples without it.
stats::RankingOptions ranking_for(const stats::RankingOptions& options, std::size_t rare) {
  stats::RankingOptions out = options;
  if (rare < kFewUnits && out.method != stats::RankingMethod::influence) {
    out.method = stats::RankingMethod::jackknife;
  }
  return out;
}

// The units of the rarer class decide how well an AUROC's error is known.
Interval capped(const Interval& interval, std::size_t rare) {
  if (rare >= kFewUnits || !(interval.df > real(rare - 1))) return interval;
  Interval out = stats::t_interval(interval.estimate, interval.standard_error, real(rare - 1),
                                   interval.confidence);
  out.clusters = interval.clusters;
  out.method = interval.method;
  return out;
}

void add_fit_notes(probe::EvaluationRow& row, const ConceptPlan& plan, const SiteScores& found,
                   std::size_t m) {
  for (const std::string& note : found.nested.notes[m]) add_note(row.note, note);
  for (std::size_t d = 0; d < plan.controls.size(); ++d) {
    for (const std::string& note : found.nested.notes[found.first_control[m] + d]) {
      if (row.note.find(note) == std::string::npos) add_note(row.note, cat("control: ", note));
    }
  }
}

}  // namespace

probe::EvaluationRow empty_row(const ConceptPlan& plan, const std::string& site) {
  probe::EvaluationRow row{.site = site, .concept_name = plan.name};
  row.rows = static_cast<std::int64_t>(plan.rows.size());
  std::set<std::int64_t> with;
  for (std::size_t i = 0; i < plan.labels.size(); ++i) {
    row.positives += plan.labels[i];
    if (plan.labels[i] == 1) with.insert(plan.units[i]);
  }
  row.units = count_different(plan.units);
  row.positive_units = with.size();
  for (Interval* interval : {&row.auroc, &row.auprc, &row.above_control, &row.above_nuisance,
                             &row.above_group_control, &row.learned, &row.above_best}) {
    *interval = no_interval();
  }
  for (double* value :
       {&row.balanced_accuracy, &row.log_loss, &row.brier, &row.ece, &row.control_auroc,
        &row.nuisance_auroc, &row.group_control_auroc, &row.memorisation_auroc, &row.upper,
        &row.equivalence_p, &row.p, &row.p_max_t, &row.condition}) {
    *value = kNaN;
  }
  row.control_recurrence = plan.recurrence;
  row.note = plan.refusal;
  add_note(row.note, plan.note);
  return row;
}

void fill_row(probe::EvaluationRow& row, const ConceptPlan& plan, const SiteScores& found,
              std::size_t m, const SiteScores* untrained,
              const stats::RankingOptions& ranking_options,
              const probe::EvaluationOptions& options) {
  const std::span<const double> scores = row_of(found.nested.scores, m);
  const std::span<const double> probabilities = row_of(found.nested.probabilities, m);
  const stats::RankingOptions ranking = ranking_for(ranking_options, plan.rare);
  // first what cannot fail, so that a cell whose intervals do keeps it
  row.condition = found.nested.condition[m];
  row.setting = list_text(found.nested.settings[m]);
  add_fit_notes(row, plan, found, m);
  row.auroc = capped(stats::ranking_interval(scores, plan.labels, plan.units, ranking), plan.rare);
  stats::RankingOptions area = ranking;
  area.measure = stats::RankingMeasure::auprc;
  if (area.method == stats::RankingMethod::influence) {
    area.method = stats::RankingMethod::jackknife;
  }
  row.auprc = capped(stats::ranking_interval(scores, plan.labels, plan.units, area), plan.rare);
  const stats::Calibration fit =
      stats::calibration(probabilities, plan.labels, std::min<std::size_t>(10, plan.labels.size()));
  row.log_loss = fit.log_loss;
  row.brier = fit.brier;
  row.ece = fit.ece;
  row.balanced_accuracy = balanced_accuracy(probabilities, plan.labels);

  const Interval* best = nullptr;
  double baseline = 0;
  if (!plan.controls.empty()) {
    std::vector<std::vector<double>> control;
    row.control_auroc = 0;
    for (std::size_t d = 0; d < plan.controls.size(); ++d) {
      const std::span<const double> own = row_of(found.nested.scores, found.first_control[m] + d);
      control.emplace_back(own.begin(), own.end());
      row.control_auroc += stats::auroc(own, plan.controls[d]) / real(plan.controls.size());
    }
    row.above_control =
        capped(control_difference(scores, plan.labels, control, plan.controls, plan.units,
                                  ranking_for(ranking_options, plan.rare_control)),
               plan.rare_control);
    best = &row.above_control;
    baseline = row.control_auroc;
  }
  if (!plan.nuisance_scores.empty()) {
    row.nuisance_auroc = plan.nuisance_auroc;
    row.above_nuisance = capped(
        stats::ranking_difference(scores, plan.nuisance_scores, plan.labels, plan.units, ranking),
        plan.rare);
    if (best == nullptr || row.nuisance_auroc > baseline) {
      best = &row.above_nuisance;
      baseline = row.nuisance_auroc;
    }
  }
  // no baseline may be worse than knowing nothing
  Interval above_half = row.auroc;
  for (double* value : {&above_half.estimate, &above_half.low, &above_half.high}) *value -= 0.5;
  row.above_best = best != nullptr && baseline >= 0.5 ? *best : above_half;
  std::vector<Interval> differences{above_half};
  if (!plan.controls.empty()) differences.push_back(row.above_control);
  if (!plan.nuisance_scores.empty()) differences.push_back(row.above_nuisance);
  const Bound bound = bound_of(differences, options);
  row.upper = bound.upper;
  row.equivalence_p = bound.p;
  add_note(row.note, bound.note);
  row.encoded = row.auroc.low > 0.5 && (plan.controls.empty() || row.above_control.low > 0) &&
                (plan.nuisance_scores.empty() || row.above_nuisance.low > 0);
  const std::optional<std::size_t> memorised =
      found.group_control.empty() ? std::nullopt : found.group_control[m];
  if (memorised) {
    const std::size_t own = found.first_control[m] + plan.controls.size();
    const std::span<const double> control = row_of(found.nested.scores, own);
    row.group_control_auroc = stats::auroc(control, plan.group_control);
    row.above_group_control =
        capped(control_difference(scores, plan.labels, {{control.begin(), control.end()}},
                                  {plan.group_control}, plan.units,
                                  ranking_for(ranking_options, plan.rare_group_control)),
               plan.rare_group_control);
    if (found.memorised.scores.defined()) {
      row.memorisation_auroc =
          stats::auroc(row_of(found.memorised.scores, *memorised), plan.group_control);
    } else {
      add_note(row.note, "no memorisation: groups have too few rows to be dealt to three folds");
    }
  }
  if (untrained != nullptr) {
    row.learned = capped(stats::ranking_difference(scores, row_of(untrained->nested.scores, m),
                                                   plan.labels, plan.units, ranking),
                         plan.rare);
  }
}

}  // namespace tierod::internal

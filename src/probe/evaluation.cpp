#include "tierod/probe/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <type_traits>

#include "core/text_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/nested_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/standardised_fitter.h"
#include "tierod/stats/calibration.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/equivalence.h"
#include "tierod/stats/multiplicity.h"

namespace tierod::probe {

using internal::cat;
using internal::kNaN;
using internal::NestedScores;
using internal::NestedTask;
using internal::real;
using internal::row_of;
using stats::Interval;

namespace {

constexpr auto* kWhere = "probe.evaluate";

std::int64_t length(std::size_t n) { return static_cast<std::int64_t>(n); }

Interval no_interval() {
  return {.estimate = kNaN,
          .low = kNaN,
          .high = kNaN,
          .standard_error = kNaN,
          .df = kNaN,
          .confidence = kNaN,
          .clusters = 0,
          .method = ""};
}

at::Tensor index_of(const std::vector<std::size_t>& rows) {
  at::Tensor out = at::empty({length(rows.size())}, at::kLong);
  auto* to = out.mutable_data_ptr<std::int64_t>();
  for (const std::size_t i : rows) *to++ = length(i);
  return out;
}

template <typename T>
std::vector<T> picked(std::span<const T> values, const std::vector<std::size_t>& rows) {
  std::vector<T> out;
  out.reserve(rows.size());
  for (const std::size_t i : rows) out.push_back(values[i]);
  return out;
}

void add_note(std::string& note, const std::string& more) {
  if (more.empty() || note.find(more) != std::string::npos) return;
  note += cat(note.empty() ? "" : "; ", more);
}

// Below so many units of a class its resamples often lack it, and t intervals must not count the
// other units as evidence on it.
constexpr std::size_t kFewUnits = 10;
// Of rows whose type occurs in another fold, for a control task to mean anything.
constexpr double kLeastRecurrence = 0.5;

/// Hold what does not depend on the site.
struct ConceptPlan {
  std::string name;
  std::vector<std::size_t> rows;  // with a known label
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> units;
  std::vector<std::uint32_t> folds;
  std::vector<std::vector<std::uint8_t>> controls;  // type-keyed draws
  std::vector<std::uint8_t> group_control;          // empty: none
  std::vector<double> nuisance_scores;              // empty: none
  double nuisance_auroc = kNaN;
  double recurrence = kNaN;  // of its types
  std::size_t rare = 0;      // units of the rarer class
  std::size_t rare_control = 0, rare_group_control = 0;
  std::string refusal, note;
};

std::size_t count_different(std::span<const std::int64_t> ids) {
  return std::set<std::int64_t>(ids.begin(), ids.end()).size();
}

// What would otherwise fail after hours of fits.
void check_options(const EvaluationOptions& options) {
  const auto expect = [](bool good, const char* what, auto got, const char* remedy) {
    if (!good) {
      throw InvalidArgument(cat("[", kWhere, "] expected ", what, ", got ", got, "; ", remedy));
    }
  };
  expect(options.folds >= 2, "folds >= 2", options.folds, "5 are usual: scores must be held out");
  expect(options.margin > 0 && options.margin < 0.5, "a margin inside (0, .5)", options.margin,
         "an AUROC .05 above its baseline is the usual one");
  expect(options.alpha > 0 && options.alpha < 0.5, "alpha inside (0, .5)", options.alpha,
         ".05 is usual; it is the level, not the confidence");
  expect(options.confidence > 0 && options.confidence < 1, "confidence inside (0, 1)",
         options.confidence, ".95 is usual");
  expect(options.threads >= 1, "threads >= 1", options.threads, "leave it at its default");
  const auto least = static_cast<std::size_t>(std::ceil(2 / (1 - options.confidence) - 1e-9));
  if (options.interval != stats::RankingMethod::influence &&
      options.interval != stats::RankingMethod::jackknife && options.replicates < least) {
    throw InvalidArgument(cat("[", kWhere, "] expected replicates >= ", least, ", got ",
                              options.replicates,
                              "; fewer do not reach into the tails of this confidence; the "
                              "influence and jackknife intervals need none"));
  }
}

void check_random_init(const ProbeDataset& dataset, const ProbeDataset& random_init) {
  constexpr auto* remedy = "; run the untrained network on the same rows in the same order";
  if (random_init.rows() != dataset.rows()) {
    throw InvalidArgument(cat("[", kWhere, "] expected random_init to have the same ",
                              dataset.rows(), " rows, got ", random_init.rows(), remedy));
  }
  for (std::size_t i = 0; i < dataset.rows(); ++i) {
    if (random_init.groups()[i] != dataset.groups()[i]) {
      throw InvalidArgument(cat("[", kWhere, "] expected random_init to have the same groups, got ",
                                random_init.groups()[i], " where the dataset has ",
                                dataset.groups()[i], " in row ", i, remedy));
    }
  }
  const std::vector<std::string> known = dataset.concepts();
  for (const std::string& name : random_init.concepts()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) continue;
    const auto own = dataset.labels(name), other = random_init.labels(name);
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (own[i] == other[i]) continue;
      throw InvalidArgument(cat("[", kWhere, "] expected random_init to have the same labels of ",
                                name, ", got ", int{other[i]}, " where the dataset has ",
                                int{own[i]}, " in row ", i, remedy));
    }
  }
}

void check(const ProbeDataset& dataset, const EvaluationOptions& options,
           const ProbeDataset* random_init) {
  if (dataset.sites().empty() || dataset.concepts().empty()) {
    throw InvalidArgument(cat("[", kWhere, "] expected sites and concepts, got ",
                              dataset.sites().size(), " and ", dataset.concepts().size(),
                              "; add_site() and add_concept() add them"));
  }
  check_options(options);
  if (random_init != nullptr) check_random_init(dataset, *random_init);
}

// Permuted labels and centred rows are those of strata, and what is permuted and resampled is the
// unit: one that lies in two strata would silently be taken for one of them.
void check_strata(const ProbeDataset& dataset, const std::string& level,
                  std::span<const std::int64_t> units) {
  const std::span<const std::int64_t> strata = dataset.strata();
  std::map<std::int64_t, std::size_t> first;
  for (std::size_t i = 0; i < strata.size(); ++i) {
    const std::size_t other = first.emplace(units[i], i).first->second;
    if (strata[i] == strata[other]) continue;
    throw InvalidArgument(cat(
        "[", kWhere, "] expected each unit of the level ", level, " in one stratum, got unit ",
        units[i], " in strata ", strata[other], " (row ", other, ", group ",
        dataset.groups()[other], ") and ", strata[i], " (row ", i, ", group ", dataset.groups()[i],
        "); join strata, or evaluate at a lower level (more least_units); twins make one unit"));
  }
}

// The share of rows whose type occurs in another fold. A label of types that never recur cannot be
// read from other folds, and a control task of them would be chance by construction.
double recurrence(std::span<const std::int64_t> types, std::span<const std::uint32_t> folds) {
  std::map<std::int64_t, std::set<std::uint32_t>> folds_of;
  for (std::size_t i = 0; i < types.size(); ++i) folds_of[types[i]].insert(folds[i]);
  std::size_t recurring = 0;
  for (const std::int64_t type : types) recurring += folds_of[type].size() > 1 ? 1 : 0;
  return real(recurring) / real(types.size());
}

ConceptPlan plan_concept(const ProbeDataset& dataset, const std::string& name,
                         std::span<const std::int64_t> units, std::span<const std::uint32_t> folds,
                         std::span<const std::int64_t> types, const EvaluationOptions& options) {
  ConceptPlan plan{.name = name};
  const std::span<const std::uint8_t> all = dataset.labels(name);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] != kUnknownLabel) plan.rows.push_back(i);
  }
  plan.labels = picked(all, plan.rows);
  plan.units = picked(units, plan.rows);
  plan.folds = picked(folds, plan.rows);
  plan.refusal = internal::missing_class(plan.labels, plan.folds, options.folds);
  if (!plan.refusal.empty()) {
    plan.refusal = cat("refused: ", plan.refusal, "; use fewer folds or more groups");
    return plan;
  }
  plan.rare = internal::rarest_units(plan.labels, plan.units);
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
      add_note(plan.note,
               cat("no control task: ", std::llround(100 * plan.recurrence),
                   " % of the rows have a type that occurs in another fold, so that it would be "
                   "chance by construction; give coarser types"));
    } else {
      std::size_t unusable = 0;
      for (std::size_t draw = 0; draw < options.control_draws; ++draw) {
        std::vector<std::uint8_t> control = control_labels(keys, plan.labels, options.seed, draw);
        if (internal::missing_class(control, plan.folds, options.folds).empty()) {
          plan.rare_control =
              std::min(plan.rare_control, internal::rarest_units(control, plan.units));
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
  std::vector<std::uint8_t> control = control_labels(plan.units, plan.labels, options.seed);
  if (internal::missing_class(control, plan.folds, options.folds).empty()) {
    plan.rare_group_control = std::min(plan.rare, internal::rarest_units(control, plan.units));
    plan.group_control = std::move(control);
  } else {
    add_note(plan.note, "no group-keyed control: a class of it lies in too few folds");
  }
  return plan;
}

// The nuisance-only probe: ridge on what co-occurs, as nested as the probe itself, on columns that
// the training rows standardise. Where bins are cut is the one thing that all rows decide; it knows
// no label.
void score_nuisances(const ProbeDataset& dataset, ConceptPlan& plan,
                     const EvaluationOptions& options) {
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
  const NestedScores nested = internal::nested_scores(
      StandardisedFitter(
          std::make_shared<RidgeFitter>(std::vector<double>{1e-4 * n, 1e-2 * n, 1e-1 * n, n})),
      task);
  const std::span<const double> scores = row_of(nested.scores, 0);
  plan.nuisance_scores.assign(scores.begin(), scores.end());
  plan.nuisance_auroc = stats::auroc(scores, plan.labels);
}

EvaluationRow empty_row(const ConceptPlan& plan, const std::string& site) {
  EvaluationRow row{.site = site, .concept_name = plan.name};
  row.rows = length(plan.rows.size());
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

// Note [The error of a cross-validated AUROC]
// Intervals take the held-out scores as given. Where there is no signal, the scores of two groups i
// and j repeat each other's error: i is scored by a probe that saw j's label and j by one that saw
// i's, both by z_i z_j x_i'x_j. The variance of the sum is then twice what the contributions show
// (an interval around .5 that says 95 % covers 83 %), and with strong signal it is right. So a
// claim of absence takes twice the variance, and a claim of presence needs the permutation p as
// well.
constexpr double kRepeatedError = 1.4142135623730951;

// Note [The better of several baselines]
// The better baseline is not known but found, and a bound of the difference to the one that
// happened to be largest would be exceeded too often. The AUROC less the better baseline is the
// smallest of its differences to all k of them, so that each one-sided bound at level alpha / k
// bounds it, and the smallest of the bounds fails with probability alpha at most (Bonferroni).
void add_equivalence(EvaluationRow& row, std::span<const Interval> differences,
                     const EvaluationOptions& options) {
  const double k = real(differences.size());
  row.upper = std::numeric_limits<double>::infinity();
  for (const Interval& d : differences) {
    Interval wide = d;
    wide.standard_error *= kRepeatedError;
    if (!(wide.standard_error > 0)) {
      if (d.estimate < row.upper) {
        row.upper = d.estimate;
        row.equivalence_p = kNaN;
      }
      continue;
    }
    const double p =
        std::min(1.0, k * stats::tost_between(wide, -2, options.margin, options.alpha).p_upper);
    const double upper =
        d.estimate + stats::student_t_quantile(1 - options.alpha / k, d.df) * wide.standard_error;
    if (!(upper < row.upper)) continue;
    row.upper = upper;
    row.equivalence_p = p;
  }
  if (std::isnan(row.equivalence_p)) {
    add_note(row.note, "the difference to a baseline does not vary: no equivalence test");
  }
}

/// Hold the nested scores of concepts that share rows, with where their tracks stand.
struct SiteScores {
  NestedScores nested, memorised;
  std::vector<std::size_t> members;        // concepts
  std::vector<std::size_t> first_control;  // track of the first type control
  std::vector<std::size_t> group_control;  // track, or SIZE_MAX
};

template <typename Fitter>
class Evaluator {
 public:
  Evaluator(const ProbeDataset& dataset, const Fitter& fitter, const EvaluationOptions& options,
            const ProbeDataset* random_init)
      : dataset_(dataset), fitter_(fitter), options_(options), random_init_(random_init) {
    check(dataset, options, random_init);
    if constexpr (std::is_same_v<Fitter, LogisticFitter>) {
      out_.probe = "logistic";
    } else {
      out_.probe = fitter.name();
    }
    out_.options = options;
    out_.options.progress = {};
    out_.level = dataset.level(options.least_units);
    out_.sites = dataset.sites();
    out_.concepts = dataset.concepts();
    units_ = dataset.units(out_.level);
    out_.units = count_different(units_);
    check_strata(dataset, out_.level, units_);
    const std::vector<std::uint32_t> folds = dataset.folds(options.folds, options.seed, out_.level);
    const std::vector<std::int64_t> types = dataset.types();
    if (types.empty()) {
      out_.notes.emplace_back(
          "no control task: there is no nuisance and no type to key it on; the AUROC stands "
          "against .5 and the nuisance-only probe");
    } else if (options.control_draws == 0) {
      out_.notes.emplace_back("no control task: control_draws = 0");
    }
    if (!options.memorisation) {
      out_.notes.emplace_back("no group-keyed control: memorisation = false");
    }
    if (options.permutations == 0) {
      out_.notes.emplace_back(
          "no p: permutations = 0, and no cell is called encoded, which needs p_max_t <= alpha");
    }
    for (const std::string& name : out_.concepts) {
      plans_.push_back(plan_concept(dataset, name, units_, folds, types, options));
      if (plans_.back().refusal.empty()) score_nuisances(dataset, plans_.back(), options);
      if (plans_.back().refusal.empty() && plans_.back().nuisance_scores.empty()) {
        add_note(plans_.back().note, "no nuisance-only probe: no nuisance and no other concept");
      }
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      if (plans_[c].refusal.empty()) sharing_[plans_[c].rows].push_back(c);
    }
    ranking_ = {.method = options.interval,
                .confidence = options.confidence,
                .replicates = options.replicates,
                .seed = options.seed,
                .max_undefined = 0.05,
                .threads = options.threads};
  }

  Evaluation run() {
    if (options_.keep_scores) {
      out_.scores = at::full(
          {length(out_.sites.size()), length(out_.concepts.size()), length(dataset_.rows())}, kNaN,
          at::kDouble);
    }
    const auto total = length(out_.sites.size());
    for (std::size_t s = 0; s < out_.sites.size(); ++s) {
      if (options_.progress && !options_.progress(length(s), total, "sites")) {
        out_.complete = false;
        out_.notes.push_back(cat("stopped after ", s, " of ", total, " sites"));
        out_.sites.resize(s);
        break;
      }
      site(out_.sites[s]);
    }
    if (options_.progress && out_.complete) options_.progress(total, total, "sites");
    if (!out_.complete && out_.scores.defined()) {
      out_.scores = out_.scores.narrow(0, 0, length(out_.sites.size())).clone();
    }
    if (!out_.sites.empty()) {
      std::vector<bool> refused;
      for (const ConceptPlan& plan : plans_) refused.push_back(!plan.refusal.empty());
      internal::add_p_values(dataset_, options_, units_, refused, scores_, out_.rows, out_.notes);
      for (EvaluationRow& row : out_.rows) {
        if (row.encoded && std::isnan(row.p_max_t)) {
          add_note(row.note, cat("not called encoded: that needs p_max_t <= ", options_.alpha,
                                 ", and there is no p",
                                 options_.permutations == 0 ? " (permutations = 0)" : ""));
        }
        if (!(row.p_max_t <= options_.alpha)) row.encoded = false;
      }
      summarise();
    }
    return std::move(out_);
  }

 private:
  // Fits name neither site nor concept; the reader must know them.
  template <typename Work>
  auto naming(const std::string& site, const Work& work) const {
    try {
      return work();
    } catch (const NumericalError& error) {
      throw NumericalError(cat("[", kWhere, "] at site ", site, ": ", error.what()));
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(cat("[", kWhere, "] at site ", site, ": ", error.what()));
    }
  }

  SiteScores score(const at::Tensor& all, const std::vector<std::size_t>& members,
                   bool controls) const {
    const ConceptPlan& first = plans_[members[0]];
    NestedTask task{.rows = all.index_select(0, index_of(first.rows).to(all.device())),
                    .calibrated = members.size(),
                    .folds = first.folds,
                    .fold_count = options_.folds,
                    .groups = first.units,
                    .seed = options_.seed};
    SiteScores out{.members = members};
    NestedTask memory{.fold_count = 3, .groups = first.units, .seed = options_.seed};
    for (const std::size_t c : members) task.tracks.push_back(plans_[c].labels);
    for (std::size_t m = 0; controls && m < members.size(); ++m) {
      const ConceptPlan& plan = plans_[members[m]];
      out.first_control.push_back(task.tracks.size());
      task.tracks.insert(task.tracks.end(), plan.controls.begin(), plan.controls.end());
      out.group_control.push_back(SIZE_MAX);
      if (plan.group_control.empty()) continue;
      out.group_control.back() = memory.tracks.size();
      task.tracks.push_back(plan.group_control);
      memory.tracks.push_back(plan.group_control);
    }
    out.nested = internal::nested_scores(fitter_, task);
    if (memory.tracks.empty()) return out;
    // row-wise folds: a group's rows are dealt in turn
    std::map<std::int64_t, std::uint32_t> seen;
    for (const std::int64_t unit : first.units) memory.folds.push_back(seen[unit]++ % 3);
    const bool possible = std::all_of(
        memory.tracks.begin(), memory.tracks.end(), [&](const std::vector<std::uint8_t>& track) {
          return internal::missing_class(track, memory.folds, 3).empty();
        });
    if (!possible) return out;
    memory.rows = task.rows;
    out.memorised = internal::nested_scores(fitter_, memory);
    return out;
  }

  void site(const std::string& name) {
    const std::size_t begin = out_.rows.size();
    for (const ConceptPlan& plan : plans_) out_.rows.push_back(empty_row(plan, name));
    const std::size_t number = begin / plans_.size();
    if (kKeepsScores) scores_.emplace_back(plans_.size());
    const at::Tensor rows = dataset_.site(name);
    std::optional<at::Tensor> random;
    if (random_init_ != nullptr) {
      const std::vector<std::string> there = random_init_->sites();
      if (std::find(there.begin(), there.end(), name) != there.end()) {
        random = random_init_->site(name);
      } else {
        for (std::size_t c = 0; c < plans_.size(); ++c) {
          add_note(out_.rows[begin + c].note, "random_init lacks this site");
        }
      }
    }
    for (const auto& [known, members] : sharing_) {
      const SiteScores found = naming(name, [&] { return score(rows, members, true); });
      SiteScores untrained;
      if (random) untrained = naming(name, [&] { return score(*random, members, false); });
      for (std::size_t m = 0; m < members.size(); ++m) {
        EvaluationRow& row = out_.rows[begin + members[m]];
        try {
          fill(row, found, m, random ? &untrained : nullptr);
        } catch (const Error& error) {  // an interval of this cell; the others stand
          row.encoded = false;
          row.upper = row.equivalence_p = kNaN;
          add_note(row.note, cat("not all of ", row.concept_name, " at ", name,
                                 " could be had: ", error.message()));
        }
        const std::span<const double> own = row_of(found.nested.scores, m);
        if (kKeepsScores) scores_.back()[members[m]].assign(own.begin(), own.end());
        if (!options_.keep_scores) continue;
        auto* to = out_.scores.mutable_data_ptr<double>() +
                   (number * plans_.size() + members[m]) * dataset_.rows();
        for (std::size_t i = 0; i < own.size(); ++i) to[known[i]] = own[i];
      }
    }
  }

  void fill(EvaluationRow& row, const SiteScores& found, std::size_t m,
            const SiteScores* untrained) const {
    const ConceptPlan& plan = plans_[found.members[m]];
    const std::span<const double> scores = row_of(found.nested.scores, m);
    const std::span<const double> probabilities = row_of(found.nested.probabilities, m);
    const stats::RankingOptions ranking = ranking_for(plan.rare);
    // first what cannot fail, so that a cell whose intervals do keeps it
    row.condition = found.nested.condition[m];
    row.setting = internal::list_text(found.nested.settings[m]);
    add_fit_notes(row, found, m);
    row.auroc =
        capped(stats::ranking_interval(scores, plan.labels, plan.units, ranking), plan.rare);
    stats::RankingOptions area = ranking;
    area.measure = stats::RankingMeasure::auprc;
    if (area.method == stats::RankingMethod::influence) {
      area.method = stats::RankingMethod::jackknife;
    }
    row.auprc = capped(stats::ranking_interval(scores, plan.labels, plan.units, area), plan.rare);
    const stats::Calibration fit = stats::calibration(
        probabilities, plan.labels, std::min<std::size_t>(10, plan.labels.size()));
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
          capped(internal::control_difference(scores, plan.labels, control, plan.controls,
                                              plan.units, ranking_for(plan.rare_control)),
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
    add_equivalence(row, differences, options_);
    row.encoded = row.auroc.low > 0.5 && (plan.controls.empty() || row.above_control.low > 0) &&
                  (plan.nuisance_scores.empty() || row.above_nuisance.low > 0);
    if (!found.group_control.empty() && found.group_control[m] != SIZE_MAX) {
      const std::size_t own = found.first_control[m] + plan.controls.size();
      const std::span<const double> control = row_of(found.nested.scores, own);
      row.group_control_auroc = stats::auroc(control, plan.group_control);
      row.above_group_control =
          capped(internal::control_difference(
                     scores, plan.labels, {{control.begin(), control.end()}}, {plan.group_control},
                     plan.units, ranking_for(plan.rare_group_control)),
                 plan.rare_group_control);
      if (found.memorised.scores.defined()) {
        row.memorisation_auroc = stats::auroc(
            row_of(found.memorised.scores, found.group_control[m]), plan.group_control);
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

  // A bootstrap of few units of a class draws resamples without it.
  stats::RankingOptions ranking_for(std::size_t rare) const {
    stats::RankingOptions out = ranking_;
    if (rare < kFewUnits && out.method != stats::RankingMethod::influence) {
      out.method = stats::RankingMethod::jackknife;
    }
    return out;
  }

  // The units of the rarer class decide how well an AUROC's error is known.
  static Interval capped(const Interval& interval, std::size_t rare) {
    if (rare >= kFewUnits || !(interval.df > real(rare - 1))) return interval;
    Interval out = stats::t_interval(interval.estimate, interval.standard_error, real(rare - 1),
                                     interval.confidence);
    out.clusters = interval.clusters;
    out.method = interval.method;
    return out;
  }

  void add_fit_notes(EvaluationRow& row, const SiteScores& found, std::size_t m) const {
    const ConceptPlan& plan = plans_[found.members[m]];
    for (const std::string& note : found.nested.notes[m]) add_note(row.note, note);
    for (std::size_t d = 0; d < plan.controls.size(); ++d) {
      for (const std::string& note : found.nested.notes[found.first_control[m] + d]) {
        if (row.note.find(note) == std::string::npos) add_note(row.note, cat("control: ", note));
      }
    }
  }

  void summarise() {
    std::vector<double> p;
    std::vector<std::size_t> tested;
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      ConceptSummary sum{.concept_name = plans_[c].name,
                         .best_auroc = kNaN,
                         .p_max_t = kNaN,
                         .q = kNaN,
                         .upper = kNaN};
      if (plans_[c].refusal.empty()) {
        sum.upper = -1;
        bool bounded = true;
        for (std::size_t s = 0; s < out_.sites.size(); ++s) {
          const EvaluationRow& row = out_.rows[s * plans_.size() + c];
          if (!(row.auroc.estimate <= sum.best_auroc)) {
            sum.best_auroc = row.auroc.estimate;
            sum.best_site = row.site;
          }
          if (!(row.p_max_t >= sum.p_max_t)) sum.p_max_t = row.p_max_t;
          sum.encoded_sites += row.encoded ? 1 : 0;
          // a site without a bound leaves the largest unknown
          if (row.upper > sum.upper) sum.upper = row.upper;
          bounded = bounded && !std::isnan(row.upper);
        }
        if (!bounded) sum.upper = kNaN;
        sum.not_encoded = sum.upper <= options_.margin && out_.complete;
        if (std::isfinite(sum.p_max_t)) {
          p.push_back(sum.p_max_t);
          tested.push_back(c);
        }
      }
      out_.summary.push_back(std::move(sum));
    }
    if (p.empty()) return;
    const std::vector<double> q = stats::benjamini_hochberg(p);
    for (std::size_t i = 0; i < q.size(); ++i) out_.summary[tested[i]].q = q[i];
  }

  // the p of a linear probe needs none
  static constexpr bool kKeepsScores = std::is_same_v<Fitter, RowFitter>;

  const ProbeDataset& dataset_;
  const Fitter& fitter_;
  const EvaluationOptions& options_;
  const ProbeDataset* random_init_;
  std::vector<std::int64_t> units_;
  std::vector<ConceptPlan> plans_;
  std::map<std::vector<std::size_t>, std::vector<std::size_t>> sharing_;  // by known rows
  stats::RankingOptions ranking_;
  std::vector<std::vector<std::vector<double>>> scores_;  // [sites][concepts][known rows]
  Evaluation out_;
};

}  // namespace

RowFitter::~RowFitter() = default;

const EvaluationRow& Evaluation::at(std::string_view site, std::string_view concept_name) const {
  for (const EvaluationRow& row : rows) {
    if (row.site == site && row.concept_name == concept_name) return row;
  }
  throw InvalidArgument(cat("[probe.Evaluation.at] no cell of site ", site, " and concept ",
                            concept_name, "; sites are ", internal::list_text(sites), ", concepts ",
                            internal::list_text(concepts)));
}

Evaluation evaluate(const ProbeDataset& dataset, const LinearFitter& fitter,
                    const EvaluationOptions& options, const ProbeDataset* random_init) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  return Evaluator<LinearFitter>(dataset, fitter, options, random_init).run();
}

Evaluation evaluate(const ProbeDataset& dataset, const RowFitter& fitter,
                    const EvaluationOptions& options, const ProbeDataset* random_init) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  return Evaluator<RowFitter>(dataset, fitter, options, random_init).run();
}

Evaluation evaluate(const ProbeDataset& dataset, const LogisticFitter& fitter,
                    const EvaluationOptions& options, const ProbeDataset* random_init) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  LogisticOptions own = fitter.options();
  own.refit = true;  // the outer fits are those on all rows
  return Evaluator<LogisticFitter>(dataset, LogisticFitter(fitter.penalties(), own), options,
                                   random_init)
      .run();
}

}  // namespace tierod::probe

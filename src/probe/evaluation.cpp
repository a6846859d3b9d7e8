#include "tierod/probe/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <type_traits>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/evaluation_row_internal.h"
#include "probe/evaluation_table_internal.h"
#include "probe/nested_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using internal::add_note;
using internal::cat;
using internal::ConceptPlan;
using internal::kEvaluate;
using internal::kNaN;
using internal::length;
using internal::NestedTask;
using internal::row_of;
using internal::SiteScores;

namespace {

template <typename Fitter>
class Evaluator {
 public:
  Evaluator(const ProbeDataset& dataset, const Fitter& fitter, const EvaluationOptions& options,
            const ProbeDataset* random_init)
      : dataset_(dataset), fitter_(fitter), options_(options), random_init_(random_init) {
    internal::check_evaluation(dataset, options, random_init);
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
    out_.units = internal::count_different(units_);
    internal::check_strata(dataset, out_.level, units_);
    const std::vector<std::uint32_t> folds = dataset.folds(options.folds, options.seed, out_.level);
    const std::vector<std::int64_t> types = dataset.types();
    out_.notes = internal::missing_parts(options, types, "the AUROC stands against .5");
    for (const std::string& name : out_.concepts) {
      plans_.push_back(internal::plan_concept(dataset, name, units_, folds, types, options));
      if (plans_.back().refusal.empty()) internal::score_nuisances(dataset, plans_.back(), options);
      if (plans_.back().refusal.empty() && plans_.back().nuisance_scores.empty()) {
        add_note(plans_.back().note, "no nuisance-only probe: no nuisance and no other concept");
      }
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      if (plans_[c].refusal.empty()) sharing_[plans_[c].rows].push_back(c);
    }
    ranking_ = internal::ranking_of(options);
  }

  Evaluation run() {
    if (options_.keep_scores) {
      out_.scores = at::full(
          {length(out_.sites.size()), length(out_.concepts.size()), length(dataset_.rows())}, kNaN,
          at::kDouble);
    }
    internal::each_site(out_, options_.progress,
                        [&](std::size_t /*s*/, const std::string& name) { site(name); });
    if (!out_.complete && out_.scores.defined()) {
      out_.scores = out_.scores.narrow(0, 0, length(out_.sites.size())).clone();
    }
    if (!out_.sites.empty()) {
      std::vector<bool> refused;
      refused.reserve(plans_.size());
      for (const ConceptPlan& plan : plans_) refused.push_back(!plan.refusal.empty());
      internal::add_p_values(dataset_, options_, plans_, scores_, out_.rows, out_.notes);
      internal::need_p(out_.rows, options_);
      internal::summarise(out_, refused);
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
      throw NumericalError(cat("[", kEvaluate, "] at site ", site, ": ", error.what()));
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(cat("[", kEvaluate, "] at site ", site, ": ", error.what()));
    }
  }

  SiteScores score(const at::Tensor& all, const std::vector<std::size_t>& members,
                   bool controls) const {
    const ConceptPlan& first = plans_[members[0]];
    NestedTask task{.rows = all.index_select(0, internal::index_of(first.rows).to(all.device())),
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
      out.group_control.emplace_back();
      if (plan.group_control.empty()) continue;
      out.group_control.back() = memory.tracks.size();
      task.tracks.push_back(plan.group_control);
      memory.tracks.push_back(plan.group_control);
    }
    // Rows that are all alike say nothing, whatever the probe; ridge reads 0 of them.
    const bool dead = !task.rows.ne(task.rows[0]).any().item<bool>();
    const RidgeFitter nothing({1});
    const auto nested = [&](const NestedTask& of) {
      return dead ? internal::nested_scores(nothing, of) : internal::nested_scores(fitter_, of);
    };
    out.nested = nested(task);
    if (dead) {
      for (std::vector<std::string>& notes : out.nested.notes) {
        notes = {"the activations do not vary: nothing can be read of them"};
      }
    }
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
    out.memorised = nested(memory);
    return out;
  }

  void site(const std::string& name) {
    const std::size_t begin = out_.rows.size();
    for (const ConceptPlan& plan : plans_) out_.rows.push_back(internal::empty_row(plan, name));
    const std::size_t number = begin / plans_.size();
    if (kKeepsScores) scores_.emplace_back(plans_.size());
    const at::Tensor rows = dataset_.site(name);
    const std::optional<at::Tensor> random = internal::untrained_site(
        random_init_, name, std::span<EvaluationRow>(out_.rows).subspan(begin));
    for (const auto& [known, members] : sharing_) {
      const SiteScores found = naming(name, [&] { return score(rows, members, true); });
      SiteScores untrained;
      if (random) untrained = naming(name, [&] { return score(*random, members, false); });
      for (std::size_t m = 0; m < members.size(); ++m) {
        EvaluationRow& row = out_.rows[begin + members[m]];
        try {
          internal::fill_row(row, plans_[members[m]], found, m, random ? &untrained : nullptr,
                             ranking_, options_);
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

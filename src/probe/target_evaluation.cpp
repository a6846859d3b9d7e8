#include "tierod/probe/target_evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/evaluation_table_internal.h"
#include "probe/target_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using internal::add_note;
using internal::cat;
using internal::kNaN;
using internal::length;
using internal::SiteTargets;
using internal::TargetPlan;
using internal::TargetTask;

namespace {

constexpr auto* kWhere = "probe.evaluate_targets";
constexpr std::size_t kMemoryFolds = 3;

class Evaluator {
 public:
  Evaluator(const ProbeDataset& dataset, const LinearFitter& fitter,
            const EvaluationOptions& options, const ProbeDataset* random_init)
      : dataset_(dataset), fitter_(fitter), options_(options), random_init_(random_init) {
    internal::check_target_evaluation(dataset, options, random_init);
    out_.probe = fitter.name();
    out_.options = options;
    out_.options.progress = {};
    out_.level = dataset.level(options.least_units);
    out_.sites = dataset.sites();
    out_.targets = dataset.targets();
    const std::vector<std::int64_t> units = dataset.units(out_.level);
    out_.units = internal::count_different(units);
    internal::check_strata(dataset, out_.level, units);
    const std::vector<std::uint32_t> folds = dataset.folds(options.folds, options.seed, out_.level);
    const std::vector<std::int64_t> types = dataset.types();
    out_.notes = internal::missing_parts(options, types, "R2 stands against 0");
    for (const std::string& name : out_.targets) {
      plans_.push_back(internal::plan_target(dataset, name, units, folds, types, options));
    }
    for (std::size_t t = 0; t < plans_.size(); ++t) {
      if (plans_[t].refusal.empty()) sharing_[plans_[t].rows].push_back(t);
    }
    ranking_ = internal::ranking_of(options);
  }

  TargetEvaluation run() {
    if (options_.keep_scores) {
      out_.predictions = at::full(
          {length(out_.sites.size()), length(out_.targets.size()), length(dataset_.rows())}, kNaN,
          at::kDouble);
    }
    internal::each_site(out_, options_.progress,
                        [&](std::size_t s, const std::string& name) { site(name, s); });
    if (!out_.complete && out_.predictions.defined()) {
      out_.predictions = out_.predictions.narrow(0, 0, length(out_.sites.size())).clone();
    }
    if (!out_.sites.empty()) {
      internal::add_target_p_values(dataset_, options_, plans_, out_.rows, out_.notes);
      internal::need_p(out_.rows, options_);
      summarise();
    }
    return std::move(out_);
  }

 private:
  // Predictions of targets that share rows, and of their control tasks.
  SiteTargets predict(const std::string& name, const at::Tensor& all,
                      const std::vector<std::size_t>& members, bool controls) const {
    const TargetPlan& first = plans_[members[0]];
    TargetTask task{.rows = all.index_select(0, internal::index_of(first.rows).to(all.device())),
                    .folds = first.folds,
                    .fold_count = options_.folds};
    TargetTask memory{.rows = task.rows, .fold_count = kMemoryFolds};
    SiteTargets out;
    for (const std::size_t t : members) task.tracks.push_back(plans_[t].values);
    for (std::size_t m = 0; controls && m < members.size(); ++m) {
      const TargetPlan& plan = plans_[members[m]];
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
    const LinearFitter& fitter = dead ? static_cast<const LinearFitter&>(nothing) : fitter_;
    try {
      out.nested = internal::nested_targets(fitter, task);
      if (dead) {
        for (std::vector<std::string>& notes : out.nested.notes) {
          notes = {"the activations do not vary: nothing can be read of them"};
        }
      }
      if (memory.tracks.empty()) return out;
      // row-wise folds: a unit's rows are dealt in turn
      std::map<std::int64_t, std::uint32_t> seen;
      for (const std::int64_t unit : first.units) {
        memory.folds.push_back(seen[unit]++ % kMemoryFolds);
      }
      const bool possible = std::all_of(
          memory.tracks.begin(), memory.tracks.end(), [&](const std::vector<double>& track) {
            return internal::constant_without(track, memory.folds, kMemoryFolds).empty();
          });
      if (possible) out.memorised = internal::nested_targets(fitter, memory);
      return out;
    } catch (const NumericalError& error) {  // fits name no site
      throw NumericalError(cat("[", kWhere, "] at site ", name, ": ", error.what()));
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(cat("[", kWhere, "] at site ", name, ": ", error.what()));
    }
  }

  void site(const std::string& name, std::size_t number) {
    const std::size_t begin = out_.rows.size();
    for (const TargetPlan& plan : plans_) {
      out_.rows.push_back(internal::empty_target_row(plan, name));
    }
    const at::Tensor rows = dataset_.site(name);
    const std::optional<at::Tensor> random = internal::untrained_site(
        random_init_, name, std::span<TargetRow>(out_.rows).subspan(begin));
    for (const auto& [known, members] : sharing_) {
      const SiteTargets found = predict(name, rows, members, true);
      std::optional<SiteTargets> untrained;
      if (random) untrained = predict(name, *random, members, false);
      for (std::size_t m = 0; m < members.size(); ++m) {
        TargetRow& row = out_.rows[begin + members[m]];
        try {
          internal::fill_target_row(row, plans_[members[m]], found, m,
                                    untrained ? &*untrained : nullptr, ranking_, options_);
        } catch (const Error& error) {  // an interval of this cell; the others stand
          row.encoded = false;
          row.upper = row.equivalence_p = kNaN;
          add_note(row.note, cat("not all of ", row.target_name, " at ", name,
                                 " could be had: ", error.message()));
        }
        if (!options_.keep_scores) continue;
        out_.predictions[length(number)][length(members[m])].index_copy_(
            0, internal::index_of(known), found.nested.predictions[length(m)]);
      }
    }
  }

  void summarise() {
    std::vector<double> p;
    p.reserve(plans_.size());
    for (std::size_t t = 0; t < plans_.size(); ++t) {
      const internal::Column column =
          plans_[t].refusal.empty()
              ? internal::column_of(out_.rows, plans_.size(), t, &TargetRow::r2)
              : internal::Column{};
      p.push_back(column.p_max_t);
      out_.summary.push_back(
          {.target_name = plans_[t].name,
           .best_site = column.best_site,
           .best_r2 = column.best,
           .p_max_t = column.p_max_t,
           .encoded_sites = column.encoded_sites,
           .upper = column.upper,
           .not_linearly_encoded = column.upper <= options_.margin && out_.complete});
    }
    const std::vector<double> q = internal::q_of(p);
    for (std::size_t t = 0; t < q.size(); ++t) out_.summary[t].q = q[t];
  }

  const ProbeDataset& dataset_;
  const LinearFitter& fitter_;
  const EvaluationOptions& options_;
  const ProbeDataset* random_init_;
  std::vector<TargetPlan> plans_;
  std::map<std::vector<std::size_t>, std::vector<std::size_t>> sharing_;  // by known rows
  stats::RankingOptions ranking_;
  TargetEvaluation out_;
};

}  // namespace

const TargetRow& TargetEvaluation::at(std::string_view site, std::string_view target_name) const {
  for (const TargetRow& row : rows) {
    if (row.site == site && row.target_name == target_name) return row;
  }
  throw InvalidArgument(cat("[probe.TargetEvaluation.at] no cell of site ", site, " and target ",
                            target_name, "; sites are ", internal::list_text(sites), ", targets ",
                            internal::list_text(targets)));
}

TargetEvaluation evaluate_targets(const ProbeDataset& dataset, const LinearFitter& fitter,
                                  const EvaluationOptions& options,
                                  const ProbeDataset* random_init) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  return Evaluator(dataset, fitter, options, random_init).run();
}

}  // namespace tierod::probe

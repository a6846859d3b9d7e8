#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/rows_internal.h"
#include "probe/scale_internal.h"
#include "probe/target_internal.h"
#include "tierod/probe/fold_statistics.h"

namespace tierod::internal {

using probe::FoldStatistics;
using probe::LinearFits;
using probe::TrainingStatistics;

std::string constant_without(std::span<const double> values, std::span<const std::uint32_t> folds,
                             std::size_t fold_count) {
  for (std::size_t a = 0; a < fold_count; ++a) {
    for (std::size_t b = a; b < fold_count; ++b) {
      if (fold_count > 2 && a == b) continue;
      std::optional<double> first;
      bool varies = false;
      for (std::size_t i = 0; i < values.size() && !varies; ++i) {
        if (folds[i] == a || folds[i] == b) continue;
        if (!first) first = values[i];
        varies = values[i] != *first;
      }
      if (varies) continue;
      return cat("the target ", first ? cat("is ", *first, " in all") : std::string("has no"),
                 " rows outside of fold ", a, a == b ? std::string() : cat(" and fold ", b));
    }
  }
  return {};
}

namespace {

/// Numbers of rows by fold, and the sums of every fold.
struct Parts {
  Parts(const TargetTask& task, std::size_t tracks)
      : of_fold(rows_by_fold(task.folds, task.fold_count, "probe.evaluate_targets")) {
    at::Tensor all = at::empty({length(task.folds.size()), length(tracks)}, at::kDouble);
    auto* to = all.mutable_data_ptr<double>();
    for (std::size_t i = 0; i < task.folds.size(); ++i) {
      for (const std::vector<double>& track : task.tracks) *to++ = track[i];
    }
    for (const std::vector<std::int64_t>& index : of_fold) {
      const at::Tensor number = index_of(index);
      rows.push_back(
          task.rows.index_select(0, number.to(task.rows.device())).to(at::kCPU, at::kDouble));
      targets.push_back(all.index_select(0, number));
      sums.emplace_back(tracks, 1, probe::Targets::reals);
      sums.back().update(rows.back(), targets.back(), std::vector<std::uint32_t>(index.size()));
    }
  }
  // The statistics of all folds but a and b.
  TrainingStatistics without(std::size_t a, std::size_t b) const {
    FoldStatistics rest(sums.front().concepts(), 1, probe::Targets::reals);
    for (std::size_t f = 0; f < sums.size(); ++f) {
      if (f != a && f != b) rest.merge(sums[f]);
    }
    return rest.training();
  }
  std::vector<std::vector<std::int64_t>> of_fold;
  std::vector<at::Tensor> rows, targets;  // by fold: [m, d], [m, T]
  std::vector<FoldStatistics> sums;       // by fold
};

}  // namespace

TargetScores nested_targets(const probe::LinearFitter& fitter, const TargetTask& task) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const std::size_t tracks = task.tracks.size(), folds = task.fold_count;
  const std::int64_t n = length(task.folds.size());
  const Parts parts(task, tracks);
  TargetScores out{
      .predictions = at::empty({length(tracks), n}, at::kDouble),
      .references = at::empty({length(tracks), n}, at::kDouble),
      .scores = at::empty({length(tracks), n}, at::kDouble),
      .settings = {tracks, std::vector<std::size_t>(folds)},
      .condition = std::vector<double>(tracks, std::numeric_limits<double>::quiet_NaN()),
      .notes = std::vector<std::vector<std::string>>(tracks)};
  // [P, T] squared error of fold j by a fit without j and k; one fit serves (k, j) and (j, k)
  std::map<std::pair<std::size_t, std::size_t>, at::Tensor> errors;
  for (std::size_t a = 0; folds > 2 && a < folds; ++a) {
    for (std::size_t b = a + 1; b < folds; ++b) {
      const LinearFits fits = fitter.fit(parts.without(a, b));
      for (const auto& [scored, other] : {std::pair(a, b), std::pair(b, a)}) {
        const at::Tensor residual =
            fits.scores(parts.rows[scored]).sub(parts.targets[scored].t().unsqueeze(0));
        errors[{other, scored}] = residual.square().sum(2);
      }
    }
  }
  for (std::size_t k = 0; k < folds; ++k) {
    const TrainingStatistics training = parts.without(k, k);
    const LinearFits fits = fitter.fit(training);
    const std::int64_t settings = fits.settings();
    at::Tensor error;
    // with two folds nothing is left to choose on: the first setting it is
    for (std::size_t j = 0; folds > 2 && j < folds; ++j) {
      if (j == k) continue;
      const at::Tensor& more = errors.at({k, j});
      error = error.defined() ? error.add(more) : more;
    }
    std::vector<at::Tensor> weights, intercepts;
    weights.reserve(tracks);
    intercepts.reserve(tracks);
    for (std::size_t t = 0; t < tracks; ++t) {
      std::size_t& chosen = out.settings[t][k];
      for (std::int64_t p = 1; error.defined() && p < settings; ++p) {
        const auto here = error[p][length(t)].item<double>();
        const auto best = error[length(chosen)][length(t)].item<double>();
        if (here < best * (1 - 1e-12)) chosen = static_cast<std::size_t>(p);
      }
      weights.push_back(fits.weights[length(chosen)][length(t)]);
      intercepts.push_back(fits.intercepts[length(chosen)][length(t)]);
      const std::size_t at = chosen * tracks + t;
      if (at >= fits.reports.size()) continue;
      const probe::FitReport& report = fits.reports[at];
      if (!(report.condition <= out.condition[t])) out.condition[t] = report.condition;
      add_note(out.notes[t], report.note);
    }
    const at::Tensor w = at::stack(weights);  // [T, d]
    const at::Tensor predicted =
        at::mm(w, parts.rows[k].t()).add_(at::stack(intercepts).unsqueeze(1));
    const at::Tensor reference = training.target_mean.unsqueeze(1);
    const at::Tensor sd = at::mm(w, training.scatter)
                              .mul(w)
                              .sum(1)
                              .clamp_min(0)
                              .div(static_cast<double>(training.rows))
                              .sqrt()
                              .unsqueeze(1);
    const at::Tensor index = index_of(parts.of_fold[k]);
    out.predictions.index_copy_(1, index, predicted);
    out.references.index_copy_(1, index, reference.expand_as(predicted).contiguous());
    out.scores.index_copy_(1, index, predicted.sub(reference).mul(inverse_or_zero(sd)));
  }
  return out;
}

}  // namespace tierod::internal

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/nested_internal.h"
#include "probe/platt_internal.h"
#include "probe/quick_auroc_internal.h"
#include "probe/rows_internal.h"
#include "probe/scale_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/cross_validation.h"
#include "tierod/probe/fold_statistics.h"

namespace tierod::internal {

using probe::FoldStatistics;
using probe::LinearFits;
using probe::TrainingStatistics;

namespace {

// A score that does not vary, but for the rounding of its mean, stays 0 rather than becoming noise.
double scale_of(double sd, double largest) { return sd > 1e-12 * largest ? 1 / sd : 0; }

/// Hold the rows of each fold, and where inner scores of one outer fold go.
struct Layout {
  explicit Layout(const NestedTask& task)
      : of_fold(rows_by_fold(task.folds, task.fold_count, "probe.evaluate")) {}
  std::vector<std::uint8_t> labels_without(const NestedTask& task, std::size_t track,
                                           std::size_t fold) const {
    std::vector<std::uint8_t> out;
    for (std::size_t j = 0; j < of_fold.size(); ++j) {
      if (j == fold) continue;
      for (const std::int64_t i : of_fold[j]) {
        out.push_back(task.tracks[track][static_cast<std::size_t>(i)]);
      }
    }
    return out;
  }
  std::vector<std::vector<std::int64_t>> of_fold;
};

NestedScores empty_scores(const NestedTask& task) {
  const std::int64_t n = length(task.folds.size());
  NestedScores out;
  out.scores = at::empty({length(task.tracks.size()), n}, at::kDouble);
  out.probabilities = at::empty({length(task.calibrated), n}, at::kDouble);
  out.settings.assign(task.tracks.size(), std::vector<std::size_t>(task.fold_count));
  out.condition.assign(task.tracks.size(), std::numeric_limits<double>::quiet_NaN());
  out.notes.resize(task.tracks.size());
  return out;
}

// Keep what the fit of a track under its chosen setting had to say, and of no other.
void keep_report(NestedScores& out, std::size_t track, const probe::FitReport& report) {
  double& worst = out.condition[track];
  if (std::isnan(worst) || report.condition > worst) worst = report.condition;
  add_note(out.notes[track], report.note);
}

}  // namespace

std::string missing_class(std::span<const std::uint8_t> labels,
                          std::span<const std::uint32_t> folds, std::size_t fold_count) {
  for (const std::uint8_t cls : {0, 1}) {
    std::vector<std::size_t> with(fold_count);
    for (std::size_t i = 0; i < labels.size(); ++i) with[folds[i]] += labels[i] == cls ? 1 : 0;
    const auto filled = static_cast<std::size_t>(
        std::count_if(with.begin(), with.end(), [](std::size_t n) { return n > 0; }));
    const std::size_t need = fold_count > 2 ? 3 : 2;
    if (filled < need) {
      return cat("label ", int{cls}, " occurs in ", filled, " of ", fold_count, " folds, and ",
                 need, " are needed so that every training part has both classes");
    }
  }
  return {};
}

namespace {

/// Fits without fold k, and for each other fold j without both.
struct OuterFits {
  LinearFits outer;
  std::vector<LinearFits> inner;  // [K], that of k itself empty
};

// `fits_without(k, training)` gives the fits for outer fold k; `training(a, b)` the statistics
// without folds a and b.
template <typename FitsWithout>
NestedScores nested_linear(const NestedTask& task, const FitsWithout& fits_without) {
  const std::size_t tracks = task.tracks.size(), folds = task.fold_count;
  const Layout layout(task);
  std::vector<at::Tensor> rows;
  std::vector<FoldStatistics> parts;
  for (std::size_t f = 0; f < folds; ++f) {
    const std::vector<std::int64_t>& index = layout.of_fold[f];
    rows.push_back(task.rows.index_select(0, index_of(index).to(task.rows.device()))
                       .to(at::kCPU, at::kDouble));
    std::vector<std::uint8_t> labels;
    labels.reserve(index.size() * tracks);
    for (const std::int64_t i : index) {
      for (const auto& track : task.tracks) labels.push_back(track[static_cast<std::size_t>(i)]);
    }
    parts.emplace_back(tracks, 1);
    parts.back().update(rows.back(), labels, std::vector<std::uint32_t>(index.size()));
  }
  const auto training = [&](std::size_t a, std::size_t b) {
    FoldStatistics rest(tracks, 1);
    for (std::size_t f = 0; f < folds; ++f) {
      if (f != a && f != b) rest.merge(parts[f]);
    }
    return rest.training();
  };
  NestedScores out = empty_scores(task);
  QuickAuroc quick;
  for (std::size_t k = 0; k < folds; ++k) {
    const OuterFits fits = fits_without(k, training);
    const LinearFits& outer = fits.outer;
    const auto settings = static_cast<std::size_t>(outer.weights.size(0));
    const std::size_t rest = task.folds.size() - layout.of_fold[k].size();
    std::vector<Platt> curves(task.calibrated);
    if (folds > 2) {
      at::Tensor held_out = at::empty({length(settings * tracks), length(rest)}, at::kFloat);
      std::int64_t at = 0;
      for (std::size_t j = 0; j < folds; ++j) {
        if (j == k) continue;
        const at::Tensor scores = fits.inner[j].scores(rows[j]);  // [P, C, m]
        held_out.narrow(1, at, scores.size(2)).copy_(scores.reshape({-1, scores.size(2)}));
        at += scores.size(2);
      }
      const auto* from = held_out.const_data_ptr<float>();
      for (std::size_t t = 0; t < tracks; ++t) {
        const std::vector<std::uint8_t> labels = layout.labels_without(task, t, k);
        double best = -1;
        for (std::size_t p = 0; p < settings; ++p) {
          const double auroc = quick({from + (p * tracks + t) * rest, rest}, labels);
          if (auroc > best + 1e-12) {
            best = auroc;
            out.settings[t][k] = p;
          }
        }
        if (t < task.calibrated) {
          curves[t] = fit_platt({from + (out.settings[t][k] * tracks + t) * rest, rest}, labels);
        }
      }
    }
    std::vector<at::Tensor> weights, intercepts;
    for (std::size_t t = 0; t < tracks; ++t) {
      const std::int64_t p = length(out.settings[t][k]), c = length(t);
      weights.push_back(outer.weights[p][c]);
      intercepts.push_back(outer.intercepts[p][c]);
      const std::size_t report = out.settings[t][k] * tracks + t;
      if (report < outer.reports.size()) keep_report(out, t, outer.reports[report]);
    }
    const at::Tensor scores = at::matmul(at::stack(weights), rows[k].t())
                                  .add_(at::stack(intercepts).unsqueeze(1));  // [C, m]
    const at::Tensor index = index_of(layout.of_fold[k]);
    out.scores.index_copy_(1, index, scores);
    const at::Tensor flat = scores.contiguous();
    const auto* s = flat.const_data_ptr<double>();
    auto* to = out.probabilities.mutable_data_ptr<double>();
    const std::size_t m = layout.of_fold[k].size(), n = task.folds.size();
    for (std::size_t t = 0; t < task.calibrated; ++t) {
      for (std::size_t i = 0; i < m; ++i) {
        to[t * n + static_cast<std::size_t>(layout.of_fold[k][i])] =
            curves[t].probability(s[t * m + i]);
      }
    }
  }
  return out;
}

}  // namespace

NestedScores nested_scores(const probe::LinearFitter& fitter, const NestedTask& task) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  // a fit without two folds serves both of them
  std::map<std::pair<std::size_t, std::size_t>, LinearFits> pairs;
  return nested_linear(task, [&](std::size_t k, const auto& training) {
    const auto fit_without = [&](std::size_t a, std::size_t b) {
      const TrainingStatistics statistics = training(a, b);
      return probe::common_scale(fitter.fit(statistics), statistics);
    };
    OuterFits out{.outer = fit_without(k, k), .inner = std::vector<LinearFits>(task.fold_count)};
    // with two folds nothing is left to choose on: the first setting it is
    for (std::size_t j = 0; task.fold_count > 2 && j < task.fold_count; ++j) {
      if (j == k) continue;
      const std::pair<std::size_t, std::size_t> key = std::minmax(j, k);
      if (!pairs.contains(key)) pairs.emplace(key, fit_without(j, k));
      out.inner[j] = pairs.at(key);
    }
    return out;
  });
}

NestedScores nested_scores(const probe::LogisticFitter& fitter, const NestedTask& task) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  return nested_linear(task, [&](std::size_t k, const auto& training) {
    std::vector<std::int64_t> index;
    std::vector<std::uint8_t> labels;
    std::vector<std::uint32_t> folds;
    for (std::size_t i = 0; i < task.folds.size(); ++i) {
      const std::uint32_t f = task.folds[i];
      if (f == k) continue;
      index.push_back(length(i));
      folds.push_back(f > k ? f - 1 : f);
      for (const auto& track : task.tracks) labels.push_back(track[i]);
    }
    const TrainingStatistics own = training(k, k);
    const at::Tensor variance = own.scatter.diagonal().div(static_cast<double>(own.rows));
    const at::Tensor scale = inverse_sd(variance, own.mean.square());
    const at::Tensor x = task.rows.index_select(0, index_of(index).to(task.rows.device()))
                             .to(at::kCPU, at::kDouble)
                             .sub(own.mean)
                             .mul(scale)
                             .to(at::kFloat);
    const auto unscaled = [&](LinearFits fits, const TrainingStatistics& statistics) {
      fits.weights = fits.weights.mul(scale);
      // iterations solve with no matrix whose condition could be told
      for (probe::FitReport& report : fits.reports) {
        report.condition = std::numeric_limits<double>::quiet_NaN();
      }
      return probe::common_scale(std::move(fits), statistics);
    };
    OuterFits out{.outer = {}, .inner = std::vector<LinearFits>(task.fold_count)};
    if (task.fold_count == 2) {
      out.outer = unscaled(fitter.fit(x, labels), own);
      return out;
    }
    probe::LogisticFits fits = fitter.fit_folds(x, labels, folds, task.fold_count - 1);
    out.outer = unscaled(std::move(fits.all), own);
    for (std::size_t j = 0; j < task.fold_count; ++j) {
      if (j == k) continue;
      out.inner[j] = unscaled(std::move(fits.without[j > k ? j - 1 : j]), training(j, k));
    }
    return out;
  });
}

NestedScores nested_scores(const probe::RowFitter& fitter, const NestedTask& task) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const std::size_t folds = task.fold_count, n = task.folds.size();
  const std::size_t settings = fitter.settings();
  if (settings == 0) {
    throw InvalidArgument(
        cat("[probe.evaluate] expected ", fitter.name(), " to have at least one setting, got 0"));
  }
  const Layout layout(task);
  NestedScores out = empty_scores(task);
  QuickAuroc quick;

  struct Part {
    at::Tensor rows;
    std::vector<std::int64_t> groups, index;
  };
  const auto part_without = [&](std::size_t a, std::size_t b) {
    Part part;
    for (std::size_t i = 0; i < n; ++i) {
      if (task.folds[i] == a || task.folds[i] == b) continue;
      part.index.push_back(length(i));
      part.groups.push_back(task.groups[i]);
    }
    part.rows = task.rows.index_select(0, index_of(part.index).to(task.rows.device()));
    return part;
  };
  std::vector<at::Tensor> rows;
  rows.reserve(folds);
  for (std::size_t f = 0; f < folds; ++f) {
    rows.push_back(task.rows.index_select(0, index_of(layout.of_fold[f]).to(task.rows.device())));
  }
  const auto checked = [&](const at::Tensor& scores, std::int64_t want) {
    if (!scores.defined() || scores.numel() != want) {
      throw InvalidArgument(cat("[probe.evaluate] expected ", fitter.name(), " to give ", want,
                                " scores, one a row, got ",
                                scores.defined() ? scores.numel() : std::int64_t{0}));
    }
    at::Tensor flat = scores.detach().to(at::kCPU, at::kDouble).reshape({want}).contiguous();
    const auto* s = flat.const_data_ptr<double>();
    for (std::int64_t i = 0; i < want; ++i) {
      if (!std::isfinite(s[i])) {
        throw NumericalError(cat("[probe.evaluate] expected finite scores of ", fitter.name(),
                                 ", got ", s[i], " for row ", i, " of ", want));
      }
    }
    return flat;
  };
  // Return the scores of some folds' rows by a fit without folds a and b, on the common scale.
  const auto fit_and_score = [&](const Part& part, std::size_t t, std::size_t setting,
                                 const std::vector<std::size_t>& score_folds) {
    std::vector<std::uint8_t> labels;
    double count[2] = {}, sum[2] = {}, squares = 0, largest = 0;
    labels.reserve(part.index.size());
    for (const std::int64_t i : part.index) {
      labels.push_back(task.tracks[t][static_cast<std::size_t>(i)]);
    }
    const probe::Scorer scorer = fitter.fit(
        {.rows = part.rows, .labels = labels, .groups = part.groups, .seed = task.seed}, setting);
    const at::Tensor own = checked(scorer(part.rows), length(labels.size()));
    const auto* s = own.const_data_ptr<double>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      count[labels[i]] += 1;
      sum[labels[i]] += s[i];
      largest = std::max(largest, std::abs(s[i]));
    }
    const double mean = (sum[0] + sum[1]) / (count[0] + count[1]);
    for (std::size_t i = 0; i < labels.size(); ++i) squares += (s[i] - mean) * (s[i] - mean);
    const double middle = (sum[0] / count[0] + sum[1] / count[1]) / 2;
    const double scale = scale_of(std::sqrt(squares / (count[0] + count[1])), largest);
    std::vector<at::Tensor> scores;
    scores.reserve(score_folds.size());
    for (const std::size_t f : score_folds) {
      scores.push_back(checked(scorer(rows[f]), rows[f].size(0)).sub(middle).mul(scale));
    }
    return scores;
  };
  const std::size_t tracks = task.tracks.size();
  // held_out[t][p][k][j]: scores of fold j by a fit without j and k
  const auto cell = [&](std::size_t t, std::size_t p, std::size_t k, std::size_t j) {
    return ((t * settings + p) * folds + k) * folds + j;
  };
  // controls need no probabilities: with one setting their inner fits would serve nothing
  const auto needs_inner = [&](std::size_t t) {
    return folds > 2 && (settings > 1 || t < task.calibrated);
  };
  std::vector<at::Tensor> held_out(tracks * settings * folds * folds);
  for (std::size_t a = 0; a < folds; ++a) {
    for (std::size_t b = a + 1; b < folds; ++b) {
      Part part;
      for (std::size_t t = 0; t < tracks; ++t) {
        if (!needs_inner(t)) continue;
        if (part.index.empty()) part = part_without(a, b);
        for (std::size_t p = 0; p < settings; ++p) {
          std::vector<at::Tensor> scores = fit_and_score(part, t, p, {a, b});
          held_out[cell(t, p, b, a)] = scores[0];
          held_out[cell(t, p, a, b)] = scores[1];
        }
      }
    }
  }
  for (std::size_t k = 0; k < folds; ++k) {
    const Part part = part_without(k, k);
    for (std::size_t t = 0; t < tracks; ++t) {
      Platt curve;
      if (needs_inner(t)) {
        const std::vector<std::uint8_t> labels = layout.labels_without(task, t, k);
        double best = -1;
        std::vector<float> chosen;
        for (std::size_t p = 0; p < settings; ++p) {
          std::vector<float> scores;
          for (std::size_t j = 0; j < folds; ++j) {
            if (j == k) continue;
            const at::Tensor& from = held_out[cell(t, p, k, j)];
            const auto* s = from.const_data_ptr<double>();
            for (std::int64_t i = 0; i < from.numel(); ++i) {
              scores.push_back(static_cast<float>(s[i]));
            }
          }
          const double auroc = quick(scores, labels);
          if (auroc > best + 1e-12) {
            best = auroc;
            out.settings[t][k] = p;
            chosen = std::move(scores);
          }
        }
        if (t < task.calibrated) curve = fit_platt(chosen, labels);
      }
      const at::Tensor scores = fit_and_score(part, t, out.settings[t][k], {k})[0];
      const auto* s = scores.const_data_ptr<double>();
      auto* to = out.scores.mutable_data_ptr<double>();
      auto* probability = out.probabilities.mutable_data_ptr<double>();
      for (std::size_t i = 0; i < layout.of_fold[k].size(); ++i) {
        const auto row = static_cast<std::size_t>(layout.of_fold[k][i]);
        to[t * n + row] = s[i];
        if (t < task.calibrated) probability[t * n + row] = curve.probability(s[i]);
      }
    }
  }
  return out;
}

}  // namespace tierod::internal

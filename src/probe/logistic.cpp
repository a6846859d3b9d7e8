#include "tierod/probe/logistic.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/logistic_pass_internal.h"
#include "probe/row_sums_internal.h"
#include "probe/rows_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/labels.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::length;
using tierod::internal::LogisticData;
using tierod::internal::LogisticPass;
using tierod::internal::LogisticPoint;
using tierod::internal::LogisticSums;

// Note [Batched logistic regression]
// Coordinates are those of the eigenbasis of the rows' covariance, variances e, rows about their
// mean; the last coordinate is the intercept. For normal rows the mean of v x x' over rows, v a
// function of the margin m = w'x + b alone, is known from sums over v: with S the covariance,
// u = S w, s2 = w'S w, V the variance of m under the weights v,
//   mean(v) S + k u u',  k = mean(v) (V / s2 - 1) / s2   (after the intercept is eliminated),
// so that its inverse costs O(d) a fit. What real rows have beyond that, and what the weights' own
// sampling adds, is left to a few pairs of limited-memory BFGS.
//
// A step is taken as it is if the slope along it has not turned to more than kTurned of what it was
// at the start, else shortened by a secant: the function is convex and only slopes are looked at,
// so that a pass needs no logarithm.
//
// First come the fits on all rows. Their last pass yields each fold's share of the gradient, from
// which the fits without a fold take their first step for nothing.
namespace {

constexpr auto* kFit = "probe.LogisticFitter.fit";
constexpr std::size_t kPairs = 8;
constexpr double kTurned = 0.9;
constexpr double kRough = 1e-4;

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
void axpy(Vector& to, const Vector& x, double by) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += by * x[i];
}

/// Hold one fit on its way. Vectors are [d + 1], the intercept last.
struct Fit {
  std::size_t concept_index = 0, setting = 0;
  std::int64_t held_out = -1;
  double penalty = 0, rows = 0, tolerance = 0;

  Vector at, gradient;  // of the mean loss, at `at`
  LogisticSums sums;
  std::vector<Vector> fold_slopes;              // [K] share of each fold in the sum of slopes
  std::vector<LogisticSums> fold_sums;          // [K]
  std::deque<std::pair<Vector, Vector>> pairs;  // steps and changes of the gradient

  Vector step, trial;
  double along = 0, size = 1;  // slope along the step at its start, and its length

  FitReport report;
  bool done = false;
};

class Solver {
 public:
  Solver(const LogisticData& data, at::Tensor vectors, Vector variances,
         std::int64_t max_iterations)
      : data_(data),
        vectors_(std::move(vectors)),
        variances_(std::move(variances)),
        max_iterations_(max_iterations) {}

  /// Take the gradient of every fit at its `trial`, and go there.
  void begin(std::vector<Fit>& fits) const { take(fits, list(fits), true); }

  /// Take gradients and steps until all fits are done.
  void run(std::vector<Fit>& fits, bool keep_folds) const {
    for (Fit& fit : fits) plan(fit, fit.report.iterations == 0);
    for (std::vector<Fit*> open = list(fits); !open.empty(); open = list(fits)) {
      take(fits, open, keep_folds);
    }
  }

  /// Set the model's inverse at a fit's sums to work on a vector.
  Vector solve_model(const Fit& fit, const Vector& g) const;

 private:
  static std::vector<Fit*> list(std::vector<Fit>& fits) {
    std::vector<Fit*> out;
    for (Fit& fit : fits) {
      if (!fit.done) out.push_back(&fit);
    }
    return out;
  }
  void take(std::vector<Fit>& fits, const std::vector<Fit*>& open, bool keep_folds) const;
  void plan(Fit& fit, bool first) const;
  void arrive(Fit& fit, Vector gradient) const;

  const LogisticData& data_;
  at::Tensor vectors_;  // [d, d], columns are the basis, f64
  Vector variances_;    // [d]
  std::int64_t max_iterations_;
};

Vector Solver::solve_model(const Fit& fit, const Vector& g) const {
  const std::size_t d = variances_.size();
  const double weight = std::max(fit.sums.weight / fit.rows, 1e-12);
  const double mean = fit.sums.first / fit.rows / weight;
  const double spread = std::max(fit.sums.second / fit.rows / weight - mean * mean, 0.0);
  Vector u(d);
  double s2 = 0;
  for (std::size_t i = 0; i < d; ++i) {
    u[i] = variances_[i] * fit.at[i];
    s2 += u[i] * fit.at[i];
  }
  const double ridge = fit.penalty / fit.rows;
  const double tilt = s2 > 1e-12 ? mean / s2 : 0;  // mean(v x) = weight tilt u
  Vector p(d + 1);
  double up = 0, uu = 0;
  for (std::size_t i = 0; i < d; ++i) {
    const double a = weight * variances_[i] + ridge;
    p[i] = (g[i] - tilt * g[d] * u[i]) / a;
    up += u[i] * p[i];
    uu += u[i] * u[i] / a;
  }
  if (s2 > 1e-12) {
    // no less than a hundredth of the curvature of the rows' own variance
    const double k = weight * (std::max(spread / s2, 0.01) - 1) / s2;
    const double by = k * up / (1 + k * uu);
    for (std::size_t i = 0; i < d; ++i) p[i] -= by * u[i] / (weight * variances_[i] + ridge);
    up = 0;
    for (std::size_t i = 0; i < d; ++i) up += u[i] * p[i];
  }
  p[d] = g[d] / weight - tilt * up;
  return p;
}

void Solver::plan(Fit& fit, bool first) const {
  Vector q = fit.gradient;
  Vector alpha(fit.pairs.size());
  for (std::size_t i = fit.pairs.size(); i-- > 0;) {
    const auto& [s, y] = fit.pairs[i];
    alpha[i] = dot(s, q) / dot(s, y);
    axpy(q, y, -alpha[i]);
  }
  q = solve_model(fit, q);
  for (std::size_t i = 0; i < fit.pairs.size(); ++i) {
    const auto& [s, y] = fit.pairs[i];
    axpy(q, s, alpha[i] - dot(y, q) / dot(s, y));
  }
  for (double& value : q) value = -value;
  fit.step = std::move(q);
  fit.along = dot(fit.gradient, fit.step);
  fit.report.excess = -fit.along / 2;
  fit.size = 1;
  if (fit.report.excess <= fit.tolerance) {
    // the step has been paid for
    axpy(fit.at, fit.step, 1);
    fit.done = true;
    fit.report.converged = true;
    return;
  }
  // From 0 the slope of a discriminant analysis is known (Efron 1975): R2 is what the step
  // explains.
  if (first) fit.size = 1 / (1 - std::min(-fit.along, 0.85));
  fit.trial = fit.at;
  axpy(fit.trial, fit.step, fit.size);
}

void Solver::arrive(Fit& fit, Vector gradient) const {
  if (!fit.gradient.empty()) {
    const double there = dot(gradient, fit.step);
    if (!(there <= -kTurned * fit.along)) {
      const double shorter = std::isfinite(there) ? fit.along / (fit.along - there) : 0.25;
      fit.size *= std::clamp(shorter, 0.05, 0.75);
      fit.trial = fit.at;
      axpy(fit.trial, fit.step, fit.size);
      return;
    }
    Vector s = fit.step, y = gradient;
    for (double& value : s) value *= fit.size;
    axpy(y, fit.gradient, -1);
    if (dot(s, y) > 1e-14 * std::sqrt(dot(s, s) * dot(y, y))) {
      fit.pairs.emplace_back(std::move(s), std::move(y));
      if (fit.pairs.size() > kPairs) fit.pairs.pop_front();
    }
  }
  fit.at = fit.trial;
  fit.gradient = std::move(gradient);
}

void Solver::take(std::vector<Fit>& /*fits*/, const std::vector<Fit*>& open,
                  bool keep_folds) const {
  const std::size_t d = variances_.size();
  const auto m = length(open.size());
  at::Tensor inside = at::empty({m, length(d)}, at::kDouble);
  std::vector<LogisticPoint> points;
  for (std::size_t i = 0; i < open.size(); ++i) {
    const Fit& fit = *open[i];
    std::copy_n(fit.trial.begin(), d, inside.mutable_data_ptr<double>() + i * d);
    points.push_back(
        {.concept_index = fit.concept_index, .held_out = fit.held_out, .intercept = fit.trial[d]});
  }
  const LogisticPass pass =
      tierod::internal::logistic_pass(data_, at::mm(inside, vectors_.t()), points);
  const std::size_t folds = data_.of_fold.size();
  std::vector<at::Tensor> shares;
  if (keep_folds) {
    for (const at::Tensor& g : pass.gradient) shares.push_back(at::mm(g, vectors_));
  } else {
    at::Tensor sum = pass.gradient[0];
    for (std::size_t f = 1; f < folds; ++f) sum = sum.add(pass.gradient[f]);
    shares.push_back(at::mm(sum, vectors_));
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    Fit& fit = *open[i];
    LogisticSums sums;
    for (std::size_t f = 0; f < folds; ++f) sums.add(pass.sums[f][i]);
    Vector gradient(d + 1);
    std::vector<Vector> fold_slopes;
    for (std::size_t f = 0; f < shares.size(); ++f) {
      const auto* from = shares[f].const_data_ptr<double>() + i * d;
      Vector share(from, from + d);
      share.push_back(keep_folds ? pass.sums[f][i].slope : sums.slope);
      axpy(gradient, share, 1);
      if (keep_folds) fold_slopes.push_back(std::move(share));
    }
    for (std::size_t j = 0; j < d; ++j) gradient[j] += fit.penalty * fit.trial[j];
    for (double& value : gradient) value /= fit.rows;
    const Vector before = fit.at;
    const bool planned = !fit.gradient.empty();
    arrive(fit, std::move(gradient));
    ++fit.report.iterations;
    if (planned && fit.at == before) {
      if (fit.report.iterations >= max_iterations_) {
        fit.done = true;
        fit.report.converged = false;
      }
      continue;
    }
    fit.sums = sums;
    if (keep_folds) {
      fit.fold_slopes = std::move(fold_slopes);
      fit.fold_sums.clear();
      for (std::size_t f = 0; f < folds; ++f) fit.fold_sums.push_back(pass.sums[f][i]);
    }
    if (!planned) continue;
    plan(fit, false);
    if (!fit.done && fit.report.iterations >= max_iterations_) {
      fit.done = true;
      fit.report.converged = false;
    }
  }
}

/// Count the known rows, and those of label 1, of each concept in each fold.
struct Counts {
  std::vector<std::vector<double>> known, ones;  // [K][C]
};

void check_classes(const Counts& counts, std::size_t concepts) {
  const std::size_t folds = counts.known.size();
  for (std::size_t c = 0; c < concepts; ++c) {
    for (std::size_t without = 0; without <= folds; ++without) {
      if (folds == 1 && without < folds) continue;
      double known = 0, ones = 0;
      for (std::size_t f = 0; f < folds; ++f) {
        if (f == without) continue;
        known += counts.known[f][c];
        ones += counts.ones[f][c];
      }
      if (ones == 0 || ones == known) {
        throw InvalidArgument(cat(
            "[", kFit, "] expected both classes of concept ", c, " among the ", std::llround(known),
            " training rows", without < folds ? cat(" without fold ", without) : std::string(),
            ", got only ", ones == 0 ? 0 : 1, "; use fewer folds or more groups"));
      }
    }
  }
}

LinearFits collect(const std::vector<Fit>& fits, std::size_t settings, std::size_t concepts,
                   const at::Tensor& vectors, const at::Tensor& centre) {
  const std::int64_t d = centre.size(0), m = length(fits.size());
  at::Tensor inside = at::empty({m, d}, at::kDouble), b = at::empty({m}, at::kDouble);
  LinearFits out;
  out.reports.resize(fits.size());
  for (const Fit& fit : fits) {
    const auto at = fit.setting * concepts + fit.concept_index;
    std::copy_n(fit.at.begin(), d,
                inside.mutable_data_ptr<double>() + at * static_cast<std::size_t>(d));
    b.mutable_data_ptr<double>()[at] = fit.at.back();
    FitReport report = fit.report;
    report.rows = std::llround(fit.rows);
    report.separated = fit.sums.mistakes == 0;
    if (!report.converged) {
      report.note = cat("not converged after ", report.iterations, " iterations: the mean loss is ",
                        "about ", report.excess, " above its minimum");
    }
    if (report.separated) {
      report.note += cat(report.note.empty() ? "" : "; ", "a hyperplane separates the ",
                         report.rows, " training rows: only the penalty bounds the weights");
    }
    if (report.rows <= d) {
      report.note += cat(report.note.empty() ? "" : "; ", "only ", report.rows, " rows for ", d,
                         " columns: the penalty decides the direction");
    }
    out.reports[at] = std::move(report);
  }
  const at::Tensor weights = at::mm(inside, vectors.t());
  out.intercepts = b.sub(at::mv(weights, centre)).reshape({length(settings), length(concepts)});
  out.weights = weights.reshape({length(settings), length(concepts), d});
  return out;
}

}  // namespace

LogisticFitter::LogisticFitter(std::vector<double> penalties, const LogisticOptions& options)
    : penalties_(std::move(penalties)), options_(options) {
  if (penalties_.empty()) {
    throw InvalidArgument("[probe.LogisticFitter] expected at least one penalty");
  }
  for (const double penalty : penalties_) {
    if (!(penalty > 0) || !std::isfinite(penalty)) {
      throw InvalidArgument(cat("[probe.LogisticFitter] expected penalties > 0, got ", penalty,
                                "; without one, separated classes have no solution"));
    }
  }
  if (!(options.tolerance > 0) || options.max_iterations < 1) {
    throw InvalidArgument(cat("[probe.LogisticFitter] expected a tolerance > 0 and at least one ",
                              "iteration, got ", options.tolerance, " and ",
                              options.max_iterations));
  }
}

LinearFits LogisticFitter::fit(const at::Tensor& rows, std::span<const std::uint8_t> labels) const {
  const std::int64_t n = rows.defined() && rows.dim() == 2 ? rows.size(0) : 0;
  return fit_folds(rows, labels, std::vector<std::uint32_t>(static_cast<std::size_t>(n)), 1).all;
}

LogisticFits LogisticFitter::fit_folds(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                                       std::span<const std::uint32_t> folds,
                                       std::size_t fold_count) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  LogisticData data;
  data.rows = tierod::internal::checked_native_rows(rows, kFit, "rows");
  const auto n = static_cast<std::size_t>(data.rows.size(0));
  if (n < 2 || labels.empty() || labels.size() % n != 0 || folds.size() != n || fold_count == 0) {
    throw InvalidArgument(cat("[", kFit, "] expected 2 rows or more, labels [n, C] and folds [n], ",
                              "got ", n, " rows, ", labels.size(), " labels and ", folds.size(),
                              " folds of ", fold_count));
  }
  const std::size_t concepts = labels.size() / n;
  const bool single =
      options_.precision == Precision::f32 ||
      (options_.precision == Precision::automatic && data.rows.scalar_type() != at::kDouble);
  data.type = single ? at::kFloat : at::kDouble;
  data.of_fold.resize(fold_count);
  for (std::size_t i = 0; i < n; ++i) {
    if (folds[i] >= fold_count) {
      throw InvalidArgument(
          cat("[", kFit, "] expected folds below ", fold_count, ", got ", folds[i], " in row ", i));
    }
    data.of_fold[folds[i]].push_back(length(i));
  }
  Counts counts{.known = std::vector(fold_count, std::vector<double>(concepts)),
                .ones = std::vector(fold_count, std::vector<double>(concepts))};
  at::Tensor signs = at::empty({length(concepts), length(n)}, at::kDouble);
  std::size_t position = 0;
  for (std::size_t f = 0; f < fold_count; ++f) {
    for (const std::int64_t row : data.of_fold[f]) {
      for (std::size_t c = 0; c < concepts; ++c) {
        const std::uint8_t label = labels[static_cast<std::size_t>(row) * concepts + c];
        if (label > 1 && label != kMissingLabel) {
          throw InvalidArgument(cat("[", kFit, "] expected labels 0, 1 or 255 for missing, got ",
                                    int{label}, " in row ", row, ", concept ", c));
        }
        counts.known[f][c] += label <= 1 ? 1 : 0;
        counts.ones[f][c] += label == 1 ? 1 : 0;
        signs.mutable_data_ptr<double>()[c * n + position] = label > 1 ? 0 : 2.0 * label - 1;
      }
      ++position;
    }
  }
  check_classes(counts, concepts);
  data.signs = signs.to(data.type);

  // covariance about the mean, by blocks of rows about a point near it
  const std::int64_t d = data.rows.size(1);
  data.centre = data.rows.narrow(0, 0, std::min(length(n), tierod::internal::kBlockRows))
                    .mean(0, false, at::kDouble)
                    .to(data.type)
                    .to(at::kDouble);
  tierod::internal::RowSums total(d);
  {
    tierod::internal::ShiftedRows shifted(data.rows, data.centre, data.type);
    for (std::int64_t begin = 0; begin < length(n); begin += tierod::internal::kBlockRows) {
      const at::Tensor x =
          shifted.range(begin, std::min(length(n), begin + tierod::internal::kBlockRows));
      total.add_products(x);
      const at::Tensor first = x.sum(0, false, at::kDouble);
      for (std::int64_t j = 0; j < d; ++j) {
        total.first[static_cast<std::size_t>(j)] += first.const_data_ptr<double>()[j];
      }
      total.rows += static_cast<double>(x.size(0));
    }
  }
  at::Tensor mean = data.centre.clone();
  for (std::int64_t j = 0; j < d; ++j) {
    mean.mutable_data_ptr<double>()[j] += total.first[static_cast<std::size_t>(j)] / total.rows;
  }
  data.centre = mean.to(data.type).to(at::kDouble);
  // the basis needs no more digits than the covariance has
  const auto [values, basis] =
      at::linalg_eigh(tierod::internal::scatter_of(total).div(total.rows).to(data.type));
  const at::Tensor vectors = basis.to(at::kDouble).contiguous();
  const at::Tensor variances = values.to(at::kDouble).clamp_min(0).contiguous();
  const auto* variance = variances.const_data_ptr<double>();
  const Solver solver(data, vectors, Vector(variance, variance + d), options_.max_iterations);
  const bool only_start = fold_count > 1 && !options_.refit;

  // at weights 0 the gradient does not depend on the penalty: one fit a concept
  std::vector<Fit> null(concepts);
  for (std::size_t c = 0; c < concepts; ++c) {
    double ones = 0;
    for (std::size_t f = 0; f < fold_count; ++f) {
      null[c].rows += counts.known[f][c];
      ones += counts.ones[f][c];
    }
    null[c].concept_index = c;
    null[c].trial.assign(static_cast<std::size_t>(d) + 1, 0);
    null[c].trial.back() = std::log(ones / (null[c].rows - ones));
  }
  solver.begin(null);
  std::vector<Fit> all;
  for (std::size_t p = 0; p < penalties_.size(); ++p) {
    for (const Fit& start : null) {
      all.push_back(start);
      all.back().setting = p;
      all.back().penalty = penalties_[p];
      // to start from, a rough fit will do: the folds are about 1 / K away from it
      all.back().tolerance = only_start ? std::max(options_.tolerance, kRough) : options_.tolerance;
      all.back().report.iterations = 0;
    }
  }
  solver.run(all, fold_count > 1);
  LogisticFits out;
  if (!only_start) out.all = collect(all, penalties_.size(), concepts, vectors, data.centre);
  if (fold_count == 1) return out;

  std::vector<Fit> folded;
  for (std::size_t f = 0; f < fold_count; ++f) {
    for (const Fit& from : all) {
      Fit fit = from;
      fit.held_out = length(f);
      fit.rows -= counts.known[f][fit.concept_index];
      fit.sums.add(from.fold_sums[f], -1);
      // where the gradient was taken, not where the last step went
      if (from.report.converged) axpy(fit.at, from.step, -1);
      for (double& value : fit.gradient) value *= from.rows;
      axpy(fit.gradient, from.fold_slopes[f], -1);
      for (double& value : fit.gradient) value /= fit.rows;
      fit.report = {.iterations = 1};
      fit.tolerance = options_.tolerance;
      fit.done = false;
      fit.fold_slopes.clear();
      fit.fold_sums.clear();
      folded.push_back(std::move(fit));
    }
  }
  solver.run(folded, false);
  const std::size_t each = all.size();
  for (std::size_t f = 0; f < fold_count; ++f) {
    const auto begin = folded.begin() + length(f * each);
    out.without.push_back(collect(std::vector<Fit>(begin, begin + length(each)), penalties_.size(),
                                  concepts, vectors, data.centre));
  }
  return out;
}

}  // namespace tierod::probe

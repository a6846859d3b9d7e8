#include "tierod/probe/linear_probe.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;

namespace {

// Pivots below this share of the largest are rounding, and what is divided by them is noise.
constexpr double kSingular = 1e-13;

at::Tensor differences(const TrainingStatistics& training) {
  return training.means[1].sub(training.means[0]);  // [C, d]
}

}  // namespace

LinearFitter::~LinearFitter() = default;

const FitReport& LinearFits::report(std::int64_t setting, std::int64_t concept_index) const {
  if (setting < 0 || setting >= settings() || concept_index < 0 || concept_index >= concepts()) {
    throw OutOfRange(cat("[probe.LinearFits.report] expected a setting below ", settings(),
                         " and a concept below ", concepts(), ", got ", setting, " and ",
                         concept_index));
  }
  return reports[static_cast<std::size_t>(setting * concepts() + concept_index)];
}

at::Tensor LinearFits::scores(const at::Tensor& rows) const {
  const at::NoGradGuard no_grad;
  if (!rows.defined() || rows.dim() != 2 || rows.size(1) != weights.size(2) ||
      !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(
        cat("[probe.LinearFits.scores] expected floating rows [n, ", weights.size(2), "], got ",
            rows.defined() ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                           : std::string("an undefined tensor")));
  }
  const at::Tensor x = rows.detach().to(at::kCPU, at::kDouble);
  return at::matmul(weights, x.t()).add_(intercepts.unsqueeze(2));
}

RidgeFitter::RidgeFitter(std::vector<double> penalties) : penalties_(std::move(penalties)) {
  if (penalties_.empty()) throw InvalidArgument("[probe.RidgeFitter] expected at least one penalty");
  for (const double alpha : penalties_) {
    if (!(alpha >= 0) || !std::isfinite(alpha)) {
      throw InvalidArgument(cat("[probe.RidgeFitter] expected penalties >= 0, got ", alpha));
    }
  }
}

LinearFits RidgeFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(training.rows);
  // X'y of centred X and y in {-1, 1} is 2 n1 (mean of the ones - mean) = 2 n1 n0 / n (difference)
  const at::Tensor share = training.ones.mul(training.ones.neg().add(n)).mul(2 / n);
  const at::Tensor target = differences(training).mul(share.unsqueeze(1)).t().contiguous();
  std::vector<at::Tensor> weights, intercepts;
  LinearFits out;
  for (const double alpha : penalties_) {
    at::Tensor a = training.scatter.clone();
    a.diagonal().add_(alpha);
    const auto [factor, info] = at::linalg_cholesky_ex(a);
    const at::Tensor pivots = factor.diagonal();
    const auto most = pivots.max().item<double>();
    const auto least = pivots.min().item<double>();
    if (info.item<std::int64_t>() != 0 || !(least * least > kSingular * most * most)) {
      throw NumericalError(cat("[probe.RidgeFitter.fit] the scatter of ", training.rows, " rows x ",
                               training.width(), " with penalty ", alpha,
                               " is singular (collinear columns, or more columns than rows); raise "
                               "the penalty"));
    }
    const at::Tensor w = at::cholesky_solve(target, factor).t().contiguous();  // [C, d]
    weights.push_back(w);
    intercepts.push_back(training.ones.mul(2 / n).sub(1).sub(at::mv(w, training.mean)));
    FitReport report{.rows = training.rows, .rank = training.width()};
    // the ratio of squared pivots bounds the condition from below
    report.condition = most * most / (least * least);
    if (training.rows <= training.width()) {
      report.note = cat("only ", training.rows, " rows for ", training.width(),
                        " columns: the penalty decides the direction");
    }
    out.reports.insert(out.reports.end(), static_cast<std::size_t>(training.concepts()), report);
  }
  out.weights = at::stack(weights);
  out.intercepts = at::stack(intercepts);
  return out;
}

LdaFitter::LdaFitter(std::vector<double> shrinkages) : shrinkages_(std::move(shrinkages)) {
  if (shrinkages_.empty())
    throw InvalidArgument("[probe.LdaFitter] expected at least one shrinkage");
  for (const double gamma : shrinkages_) {
    if (!(gamma >= 0 && gamma <= 1)) {
      throw InvalidArgument(cat("[probe.LdaFitter] expected shrinkages inside [0, 1], got ", gamma));
    }
  }
}

// The within-class scatter is the total one less n1 n0 / n times the outer product of the
// difference of means. One eigendecomposition of the total scatter serves all concepts and
// shrinkages; the rank-1 part only rescales (Sherman & Morrison 1950).
LinearFits LdaFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(training.rows);
  const auto d = static_cast<double>(training.width());
  const auto [values, vectors] = at::linalg_eigh(training.scatter.div(n));
  const at::Tensor eigenvalues = values.clamp_min(0);
  const auto top = eigenvalues.max().item<double>();
  const auto trace = eigenvalues.sum().item<double>();
  const at::Tensor delta = differences(training);         // [C, d]
  const at::Tensor rotated = at::matmul(delta, vectors);  // in the eigenbasis
  const at::Tensor between = training.ones.mul(training.ones.neg().add(n)).div(n * n);  // [C]
  const at::Tensor odds = training.ones.div(training.ones.neg().add(n)).log();
  const at::Tensor middle = training.means.mean(0);  // [C, d]
  std::vector<at::Tensor> weights, intercepts;
  LinearFits out;
  for (const double gamma : shrinkages_) {
    at::Tensor w = at::empty({training.concepts(), training.width()}, delta.options());
    double condition = 1;
    for (std::int64_t c = 0; c < training.concepts(); ++c) {
      const auto share = between[c].item<double>();
      const auto squares = delta[c].square().sum().item<double>();
      // of the within-class covariance, whose trace lacks the part between classes
      const double ridge = gamma * std::max(trace - share * squares, 0.0) / d;
      const at::Tensor spectrum = eigenvalues.mul(1 - gamma).add(ridge);
      const auto least = spectrum.min().item<double>();
      const auto most = spectrum.max().item<double>();
      if (!(least > kSingular * std::max(most, top))) {
        throw NumericalError(cat("[probe.LdaFitter.fit] the covariance of ", training.rows,
                                 " rows x ", training.width(), " with shrinkage ", gamma,
                                 " is singular for concept ", c, "; raise the shrinkage"));
      }
      condition = std::max(condition, most / least);
      const at::Tensor solved = rotated[c].div(spectrum);
      const auto reach = rotated[c].dot(solved).item<double>();  // delta' A^-1 delta
      const double scale = 1 - (1 - gamma) * share * reach;
      if (!(scale > kSingular)) {
        throw NumericalError(cat("[probe.LdaFitter.fit] concept ", c,
                                 " separates the training rows exactly: the covariance within "
                                 "classes is singular; raise the shrinkage"));
      }
      w[c].copy_(at::mv(vectors, solved).div_(scale));
    }
    intercepts.push_back(odds.sub(w.mul(middle).sum(1)));
    weights.push_back(w);
    FitReport report{.rows = training.rows,
                     .rank = training.width(),
                     .condition = condition,
                     .shrinkage = gamma};
    if (training.rows <= training.width()) {
      report.note = cat("only ", training.rows, " rows for ", training.width(),
                        " columns: the shrinkage decides the direction");
    }
    out.reports.insert(out.reports.end(), static_cast<std::size_t>(training.concepts()), report);
  }
  out.weights = at::stack(weights);
  out.intercepts = at::stack(intercepts);
  return out;
}

LinearFits MeanDifferenceFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor w = differences(training);
  const at::Tensor length = w.square().sum(1);
  for (std::int64_t c = 0; c < training.concepts(); ++c) {
    if (!(length[c].item<double>() > 0)) {
      throw NumericalError(cat("[probe.MeanDifferenceFitter.fit] the class means of concept ", c,
                               " are equal; there is no direction between them"));
    }
  }
  const at::Tensor middle = training.means.mean(0);
  LinearFits out;
  out.weights = w.unsqueeze(0);
  out.intercepts = w.mul(middle).sum(1).neg().unsqueeze(0);
  out.reports.assign(static_cast<std::size_t>(training.concepts()),
                     {.rows = training.rows, .rank = training.width()});
  return out;
}

}  // namespace tierod::probe

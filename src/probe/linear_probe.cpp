#include "tierod/probe/linear_probe.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;

namespace {

// Eigenvalues below this share of the largest are rounding, and what is divided by them is noise.
constexpr double kSingular = 1e-13;

void need_labels(const TrainingStatistics& training, const char* where) {
  if (training.has_labels()) return;
  throw InvalidArgument(cat("[probe.", where,
                            ".fit] expected labels 0 and 1, got real targets; use "
                            "RidgeFitter for these"));
}

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
  if (penalties_.empty())
    throw InvalidArgument("[probe.RidgeFitter] expected at least one penalty");
  for (const double alpha : penalties_) {
    if (!(alpha >= 0) || !std::isfinite(alpha)) {
      throw InvalidArgument(cat("[probe.RidgeFitter] expected penalties >= 0, got ", alpha));
    }
  }
}

namespace {

// Note [Ridge solves]
// The matrix is scaled to a unit diagonal, so that columns of unlike scale are not taken for
// collinear: a squared pivot is then the share of a column that the columns before it do not
// explain. What is below the rounding of the scatter is no share at all. Where the scatter comes
// from f32 products, it is factorised in f32, at half the price, and the solution refined with f64
// residuals.
struct Factor {
  at::Tensor lower;  // of the scaled matrix
  at::Tensor scale;  // [d] square roots of the diagonal, f64
  double least = 0;  // squared pivot of the scaled matrix; 0: not positive definite
  double condition = 0;
};

Factor factorise(const at::Tensor& scatter, double alpha, at::ScalarType type) {
  const std::int64_t d = scatter.size(0);
  Factor out;
  out.scale = scatter.diagonal().add(alpha).clamp_min(0).sqrt();
  const at::Tensor inverse = out.scale.clamp_min(1e-300).reciprocal();
  at::Tensor a = at::empty({d, d}, at::TensorOptions().dtype(type));
  const auto* s = scatter.const_data_ptr<double>();
  const auto* unit = inverse.const_data_ptr<double>();
  const auto fill = [&](auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    for (std::int64_t i = 0; i < d; ++i) {
      for (std::int64_t j = 0; j < d; ++j) {
        to[i * d + j] = static_cast<T>(s[i * d + j] * (unit[i] * unit[j]));
      }
      to[i * d + i] = static_cast<T>((s[i * d + i] + alpha) * (unit[i] * unit[i]));
    }
  };
  if (type == at::kFloat)
    fill(a.mutable_data_ptr<float>());
  else
    fill(a.mutable_data_ptr<double>());
  const auto [lower, info] = at::linalg_cholesky_ex(a);
  if (info.item<std::int64_t>() != 0) return out;
  out.lower = lower;
  const at::Tensor pivots = lower.diagonal().to(at::kDouble).square();
  const at::Tensor unscaled = pivots.mul(out.scale.square());
  out.least = pivots.min().item<double>();
  // the ratio of squared pivots bounds the condition from below
  out.condition = unscaled.max().item<double>() / unscaled.min().item<double>();
  return out;
}

at::Tensor solve(const Factor& factor, const at::Tensor& target) {
  const at::Tensor scaled = target.div(factor.scale.unsqueeze(1)).to(factor.lower.scalar_type());
  return at::cholesky_solve(scaled, factor.lower).to(at::kDouble).div_(factor.scale.unsqueeze(1));
}

// Solve (scatter + alpha) x = target to the scatter's own precision; undefined where f32 will not
// do.
at::Tensor refined(const Factor& factor, const at::Tensor& scatter, double alpha,
                   const at::Tensor& target) {
  constexpr double kEnough = 1e-7;
  at::Tensor x = solve(factor, target);
  auto before = x.norm().item<double>();
  for (int round = 0; round < 10; ++round) {
    const at::Tensor step = solve(factor, target.sub(at::mm(scatter, x)).sub_(x, alpha));
    x.add_(step);
    const auto size = step.norm().item<double>();
    // errors shrink by the same factor each time: this is what the next step would change
    const double next = before > 0 ? size * (size / before) : 0;
    if (next <= kEnough * x.norm().item<double>()) return x;
    if (size > 0.25 * before) break;
    before = size;
  }
  return {};
}

}  // namespace

LinearFits RidgeFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(training.rows);
  at::Tensor target, mean;
  if (training.has_labels()) {
    // X'y of centred X and y in {-1, 1} is 2 n1 (mean of the ones - mean) = 2 n1 n0 / n
    // (difference)
    const at::Tensor share = training.ones.mul(training.ones.neg().add(n)).mul(2 / n);
    target = differences(training).mul(share.unsqueeze(1));
    mean = training.ones.mul(2 / n).sub(1);
  } else {
    target = training.cross;
    mean = training.target_mean;
  }
  target = target.t().contiguous();
  const at::Tensor scatter = training.scatter.contiguous();
  const double negligible = training.rounding;
  const bool single = training.rounding > 1e-10;
  std::vector<at::Tensor> weights, intercepts;
  LinearFits out;
  for (const double alpha : penalties_) {
    Factor factor = factorise(scatter, alpha, single ? at::kFloat : at::kDouble);
    at::Tensor x;
    if (factor.least > negligible) {
      x = single ? refined(factor, scatter, alpha, target) : solve(factor, target);
      if (!x.defined()) {
        factor = factorise(scatter, alpha, at::kDouble);
        if (factor.least > negligible) x = solve(factor, target);
      }
    }
    if (!x.defined()) {
      throw NumericalError(cat("[probe.RidgeFitter.fit] the scatter of ", training.rows, " rows x ",
                               training.width(), " with penalty ", alpha,
                               " is singular (collinear columns, or more columns than rows); "
                               "raise the penalty",
                               single ? ", or take the products in f64 (Precision::f64)" : ""));
    }
    const at::Tensor w = x.t().contiguous();  // [C, d]
    weights.push_back(w);
    intercepts.push_back(mean.sub(at::mv(w, training.mean)));
    FitReport report{
        .rows = training.rows, .rank = training.width(), .condition = factor.condition};
    if (training.rows <= training.width()) {
      report.note = cat("only ", training.rows, " rows for ", training.width(),
                        " columns: the penalty decides the direction");
    }
    if (single && factor.least < 100 * negligible) {
      report.note +=
          cat(report.note.empty() ? "" : "; ", "a column is explained by others to ", factor.least,
              ": products in f32 leave it two digits or fewer, take ", "Precision::f64");
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
      throw InvalidArgument(
          cat("[probe.LdaFitter] expected shrinkages inside [0, 1], got ", gamma));
    }
  }
}

// The within-class scatter is the total one less n1 n0 / n times the outer product of the
// difference of means. One eigendecomposition of the total scatter serves all concepts and
// shrinkages; the rank-1 part only rescales (Sherman & Morrison 1950).
LinearFits LdaFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  need_labels(training, "LdaFitter");
  const auto n = static_cast<double>(training.rows);
  const auto d = static_cast<double>(training.width());
  const auto [values, vectors] = at::linalg_eigh(training.scatter.div(n));
  const at::Tensor eigenvalues = values.clamp_min(0);
  const auto top = eigenvalues.max().item<double>();
  const auto trace = eigenvalues.sum().item<double>();
  const double negligible = std::max(kSingular, training.rounding);
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
      if (!(least > negligible * std::max(most, top))) {
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
  need_labels(training, "MeanDifferenceFitter");
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

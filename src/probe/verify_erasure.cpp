#include "tierod/probe/verify_erasure.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "core/text_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/rows_internal.h"
#include "stats/folds_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/cross_validation.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/ranking.h"

namespace tierod::probe {

using tierod::internal::cat;

namespace {

constexpr auto* kWhere = "probe.verify_erasure";

// Whole groups go to folds at random, whatever their labels.
std::vector<std::uint32_t> folds_of(std::span<const std::int64_t> groups, std::size_t folds,
                                    std::uint64_t seed) {
  const stats::Clusters clusters(groups, 1, kWhere);
  if (clusters.size() < folds || folds < 2) {
    throw InvalidArgument(cat("[", kWhere, "] expected 2 folds or more and as many groups, got ",
                              folds, " folds and ", clusters.size(),
                              " groups; use fewer folds or more groups"));
  }
  const std::vector<std::size_t> fold =
      tierod::internal::deal_folds({}, clusters.size(), folds, seed);
  std::vector<std::uint32_t> out;
  out.reserve(groups.size());
  for (const std::uint32_t g : clusters.of_row())
    out.push_back(static_cast<std::uint32_t>(fold[g]));
  return out;
}

struct Reading {
  stats::Interval auroc;
  double penalty = 0;
};

Reading most_read(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                  std::span<const std::uint32_t> folds, std::span<const std::int64_t> groups,
                  const VerifyErasureOptions& options) {
  FoldStatistics statistics(1, options.folds, Targets::labels, Precision::f64);
  statistics.update(rows, labels, folds);
  std::vector<LinearFits> fits;
  for (std::size_t k = 0; k < options.folds; ++k) {
    const TrainingStatistics training = statistics.training(k);
    const auto unit = training.scatter.diagonal().mean().item<double>();
    std::vector<double> penalties;
    penalties.reserve(options.penalties.size());
    // erasure leaves the scatter singular in exact arithmetic: a penalty of 0 has no solution
    for (const double p : options.penalties) penalties.push_back(p * std::max(unit, 1e-300));
    fits.push_back(common_scale(RidgeFitter(penalties).fit(training), training));
  }
  const at::Tensor scores = held_out_scores(rows.to(at::kDouble), folds, fits);  // [P, 1, n]
  const auto n = static_cast<std::size_t>(rows.size(0));
  const stats::RankingOptions ranking{
      .confidence = options.confidence, .replicates = options.replicates, .seed = options.seed};
  std::size_t best = 0;
  double most = -1;
  for (std::size_t p = 0; p < options.penalties.size(); ++p) {
    const double area = stats::auroc({scores.const_data_ptr<double>() + p * n, n}, labels);
    if (area > most) {
      most = area;
      best = p;
    }
  }
  return {.auroc = stats::ranking_interval({scores.const_data_ptr<double>() + best * n, n}, labels,
                                           groups, ranking),
          .penalty = options.penalties[best]};
}

double upper_end(const stats::Interval& found) {
  const double p = (1 + found.confidence) / 2;
  const double q = std::isfinite(found.df) && found.df > 0 ? stats::student_t_quantile(p, found.df)
                                                           : stats::normal_quantile(p);
  return std::max(found.high,
                  found.estimate + q * tierod::internal::kRepeatedError * found.standard_error);
}

}  // namespace

ErasureCheck verify_erasure(const Eraser& eraser, const at::Tensor& rows,
                            std::span<const std::uint8_t> labels,
                            std::span<const std::int64_t> groups,
                            const VerifyErasureOptions& options) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = tierod::internal::checked_native_rows(rows, kWhere, "rows").to(at::kDouble);
  return verify_erasure(eraser.apply(x), x, labels, groups, options);
}

ErasureCheck verify_erasure(const at::Tensor& erased, const at::Tensor& rows,
                            std::span<const std::uint8_t> labels,
                            std::span<const std::int64_t> groups,
                            const VerifyErasureOptions& options) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = tierod::internal::checked_native_rows(rows, kWhere, "rows").to(at::kDouble);
  const at::Tensor left =
      tierod::internal::checked_native_rows(erased, kWhere, "erased rows").to(at::kDouble);
  if (left.sizes() != x.sizes()) {
    throw InvalidArgument(cat("[", kWhere, "] expected erased rows of the shape of the rows, ",
                              x.sizes(), ", got ", left.sizes(),
                              "; give the same rows before and after"));
  }
  const auto n = static_cast<std::size_t>(x.size(0));
  if (labels.size() != n || groups.size() != n) {
    throw InvalidArgument(cat("[", kWhere, "] expected labels and groups [", n, "], got ",
                              labels.size(), " and ", groups.size(), "; give one a row"));
  }
  if (options.penalties.empty() ||
      !std::all_of(options.penalties.begin(), options.penalties.end(),
                   [](double p) { return p > 0 && std::isfinite(p); })) {
    throw InvalidArgument(cat("[", kWhere, "] expected penalties > 0, got ",
                              internal::list_text(options.penalties),
                              ": erased rows are singular and need one"));
  }
  std::int64_t ones = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (labels[i] > 1) {
      throw InvalidArgument(cat("[", kWhere, "] expected labels 0 or 1, got ", int{labels[i]},
                                " in row ", i, "; drop rows whose label is missing"));
    }
    ones += labels[i];
  }
  const std::vector<std::uint32_t> folds = folds_of(groups, options.folds, options.seed);
  ErasureCheck out;
  out.positives = std::min(ones, static_cast<std::int64_t>(n) - ones);
  out.before = most_read(x, labels, folds, groups, options).auroc;
  const Reading after = most_read(left, labels, folds, groups, options);
  out.after = after.auroc;
  out.upper = upper_end(out.after);
  out.penalty = after.penalty;
  out.positive_units = tierod::internal::rarest_units(labels, groups);
  if (out.positive_units < options.positive_units) {
    out.reason = cat("only ", out.positive_units, " units with the rarer class, ",
                     options.positive_units, " are needed to tell");
  } else if (out.after.estimate > options.most) {
    out.reason =
        cat("a fresh probe still reads ", out.after.estimate, ", more than ", options.most);
  } else if (!(out.upper <= options.most_upper)) {
    out.reason =
        cat("a fresh probe may still read ", out.upper, ", more than ", options.most_upper);
  }
  out.passed = out.reason.empty();
  return out;
}

}  // namespace tierod::probe

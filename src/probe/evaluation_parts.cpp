#include <algorithm>
#include <cmath>
#include <set>

#include "probe/evaluation_internal.h"
#include "stats/check_internal.h"
#include "stats/ranked_internal.h"
#include "stats/resampled_interval_internal.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/equivalence.h"

namespace tierod::internal {

using stats::Interval;

std::span<const double> row_of(const at::Tensor& matrix, std::size_t row) {
  const auto width = static_cast<std::size_t>(matrix.size(1));
  return {matrix.const_data_ptr<double>() + row * width, width};
}

std::size_t rarest_units(std::span<const std::uint8_t> labels,
                         std::span<const std::int64_t> units) {
  std::set<std::int64_t> of[2];
  for (std::size_t i = 0; i < labels.size(); ++i) of[labels[i]].insert(units[i]);
  return std::min(of[0].size(), of[1].size());
}

Interval control_difference(std::span<const double> scores, std::span<const std::uint8_t> labels,
                            const std::vector<std::vector<double>>& control_scores,
                            const std::vector<std::vector<std::uint8_t>>& control_labels,
                            std::span<const std::int64_t> units,
                            const stats::RankingOptions& options) {
  const stats::Clusters clusters(units, 2, "probe.evaluate");
  const double share = 1 / real(control_scores.size());
  if (options.method == stats::RankingMethod::influence) {
    stats::Influence d = stats::auroc_influence(scores, labels, units);
    for (std::size_t r = 0; r < control_scores.size(); ++r) {
      const stats::Influence c =
          stats::auroc_influence(control_scores[r], control_labels[r], units);
      d.estimate -= share * c.estimate;
      for (std::size_t g = 0; g < d.contributions.size(); ++g) {
        d.contributions[g] -= share * c.contributions[g];
      }
    }
    return stats::influence_interval(d, options.confidence);
  }
  const Ranked own(scores, labels);
  std::vector<Ranked> controls;
  controls.reserve(control_scores.size());
  for (std::size_t r = 0; r < control_scores.size(); ++r) {
    controls.emplace_back(control_scores[r], control_labels[r]);
  }
  const auto of_row = clusters.of_row();
  const stats::Estimator estimator = [&](std::span<const double> weights) {
    const auto weight = [&](std::size_t row) { return weights[of_row[row]]; };
    double d = own.auroc(weight);
    for (const Ranked& control : controls) d -= share * control.auroc(weight);
    return d;
  };
  return resampled_interval(estimator, clusters.size(), options);
}

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

// Note [The better of several baselines]
// The better baseline is not known but found, and a bound of the difference to the one that
// happened to be largest would be exceeded too often. The score less the better baseline is the
// smallest of its differences to all k of them, so that each one-sided bound at level alpha / k
// bounds it, and the smallest of the bounds fails with probability alpha at most (Bonferroni).
Bound bound_of(std::span<const Interval> differences, const probe::EvaluationOptions& options) {
  const double k = real(differences.size());
  Bound out{.upper = kInfinity, .p = 1};
  for (const Interval& d : differences) {
    Interval wide = d;
    wide.standard_error *= kRepeatedError;
    if (!(wide.standard_error > 0)) {
      if (d.estimate < out.upper) {
        out.upper = d.estimate;
        out.p = kNaN;
      }
      continue;
    }
    const double p =
        std::min(1.0, k * stats::tost_between(wide, -2, options.margin, options.alpha).p_upper);
    const double upper =
        d.estimate + stats::student_t_quantile(1 - options.alpha / k, d.df) * wide.standard_error;
    if (!(upper < out.upper)) continue;
    out.upper = upper;
    out.p = p;
  }
  if (std::isnan(out.p)) {
    out.note = "the difference to a baseline does not vary: no equivalence test";
  }
  return out;
}

}  // namespace tierod::internal

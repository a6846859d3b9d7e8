#include "tierod/stats/ranking.h"

#include <cmath>

#include "stats/check_internal.h"
#include "stats/ranked_internal.h"
#include "stats/resampled_interval_internal.h"
#include "tierod/stats/clusters.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_binary;
using tierod::internal::check_finite;
using tierod::internal::check_same_length;
using tierod::internal::check_weights;
using tierod::internal::Ranked;
using tierod::internal::resampled_interval;

namespace {

void check_scores(std::span<const double> scores, std::span<const std::uint8_t> labels,
                  const char* where) {
  check_same_length(labels.size(), scores.size(), where, "labels", "scores");
  check_finite(scores, where, "scores");
  check_binary(labels, where);
}

double weighted(RankingMeasure measure, std::span<const double> scores,
                std::span<const std::uint8_t> labels, std::span<const double> weights,
                const char* where) {
  check_scores(scores, labels, where);
  check_weights(weights, scores.size(), where);
  const Ranked ranked(scores, labels);
  const auto weight = [&](std::size_t row) { return weights.empty() ? 1.0 : weights[row]; };
  const double value =
      measure == RankingMeasure::auroc ? ranked.auroc(weight) : ranked.auprc(weight);
  if (!std::isfinite(value)) {
    throw InvalidArgument(
        cat("[", where, "] expected weight > 0 in both classes, got none in one"));
  }
  return value;
}

void check_influence(const RankingOptions& options, const char* where) {
  if (options.method == RankingMethod::influence && options.measure == RankingMeasure::auprc) {
    throw InvalidArgument(
        cat("[", where, "] the influence interval is known for the AUROC only; use the jackknife"));
  }
}

double measure_of(const Ranked& ranked, RankingMeasure measure,
                  std::span<const std::uint32_t> cluster, std::span<const double> weights) {
  const auto weight = [&](std::size_t row) { return weights[cluster[row]]; };
  return measure == RankingMeasure::auroc ? ranked.auroc(weight) : ranked.auprc(weight);
}

}  // namespace

double auroc(std::span<const double> scores, std::span<const std::uint8_t> labels,
             std::span<const double> weights) {
  return weighted(RankingMeasure::auroc, scores, labels, weights, "stats.auroc");
}

double auprc(std::span<const double> scores, std::span<const std::uint8_t> labels,
             std::span<const double> weights) {
  return weighted(RankingMeasure::auprc, scores, labels, weights, "stats.auprc");
}

Influence auroc_influence(std::span<const double> scores, std::span<const std::uint8_t> labels,
                          std::span<const std::int64_t> groups) {
  constexpr auto* where = "stats.auroc_influence";
  check_scores(scores, labels, where);
  check_same_length(groups.size(), scores.size(), where, "groups", "scores");
  const Clusters clusters(groups, 2, where);
  // The mean placement of the ones is the AUROC, and so is that of the zeros: half of each is the
  // balanced mean, whose contributions are half of what the AUROC's are.
  Influence out = balanced_influence(Ranked(scores, labels).placements(), labels, groups);
  for (double& u : out.contributions) u *= 2;
  return out;
}

Interval ranking_interval(std::span<const double> scores, std::span<const std::uint8_t> labels,
                          std::span<const std::int64_t> groups, const RankingOptions& options) {
  constexpr auto* where = "stats.ranking_interval";
  check_scores(scores, labels, where);
  check_same_length(groups.size(), scores.size(), where, "groups", "scores");
  const Clusters clusters(groups, 2, where);
  check_influence(options, where);
  if (options.method == RankingMethod::influence) {
    return influence_interval(auroc_influence(scores, labels, groups), options.confidence);
  }
  const Ranked ranked(scores, labels);
  const Estimator estimator = [&](std::span<const double> weights) {
    return measure_of(ranked, options.measure, clusters.of_row(), weights);
  };
  return resampled_interval(estimator, clusters.size(), options);
}

Interval ranking_difference(std::span<const double> scores_a, std::span<const double> scores_b,
                            std::span<const std::uint8_t> labels,
                            std::span<const std::int64_t> groups, const RankingOptions& options) {
  constexpr auto* where = "stats.ranking_difference";
  check_scores(scores_a, labels, where);
  check_scores(scores_b, labels, where);
  check_same_length(groups.size(), labels.size(), where, "groups", "labels");
  const Clusters clusters(groups, 2, where);
  check_influence(options, where);
  if (options.method == RankingMethod::influence) {
    Influence a = auroc_influence(scores_a, labels, groups);
    const Influence b = auroc_influence(scores_b, labels, groups);
    a.estimate -= b.estimate;
    for (std::size_t g = 0; g < a.contributions.size(); ++g) {
      a.contributions[g] -= b.contributions[g];
    }
    return influence_interval(a, options.confidence);
  }
  const Ranked ranked_a(scores_a, labels), ranked_b(scores_b, labels);
  const Estimator estimator = [&](std::span<const double> weights) {
    return measure_of(ranked_a, options.measure, clusters.of_row(), weights) -
           measure_of(ranked_b, options.measure, clusters.of_row(), weights);
  };
  return resampled_interval(estimator, clusters.size(), options);
}

}  // namespace tierod::stats

#include "tierod/stats/influence.h"

#include <array>
#include <cmath>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"
#include "tierod/stats/clusters.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_binary;
using tierod::internal::check_finite;
using tierod::internal::check_same_length;
using tierod::internal::check_weights;
using tierod::internal::real;
using tierod::internal::variance_of;

Influence mean_influence(std::span<const double> values, std::span<const std::int64_t> groups,
                         std::span<const double> weights) {
  constexpr auto* where = "stats.mean_influence";
  check_same_length(groups.size(), values.size(), where, "groups", "values");
  check_finite(values, where, "values");
  check_weights(weights, values.size(), where);
  const Clusters clusters(groups, 2, where);
  const auto weight = [&](std::size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  double total = 0;
  Influence out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    total += weight(i);
    out.estimate += weight(i) * values[i];
  }
  if (!(total > 0)) {
    throw InvalidArgument(cat("[", where, "] expected weights with a sum > 0, got ", total));
  }
  out.estimate /= total;
  out.contributions.assign(clusters.size(), 0.0);
  const double scale = real(clusters.size()) / total;
  for (std::size_t i = 0; i < values.size(); ++i) {
    out.contributions[clusters.of_row()[i]] += scale * weight(i) * (values[i] - out.estimate);
  }
  return out;
}

Influence balanced_influence(std::span<const double> values, std::span<const std::uint8_t> labels,
                             std::span<const std::int64_t> groups) {
  constexpr auto* where = "stats.balanced_influence";
  check_same_length(labels.size(), values.size(), where, "labels", "values");
  check_same_length(groups.size(), values.size(), where, "groups", "values");
  check_finite(values, where, "values");
  const std::size_t ones = check_binary(labels, where);
  const Clusters clusters(groups, 2, where);
  const std::array<double, 2> count = {real(labels.size() - ones), real(ones)};
  std::array<double, 2> mean = {0, 0};
  for (std::size_t i = 0; i < values.size(); ++i) mean[labels[i]] += values[i];
  for (std::size_t c = 0; c < 2; ++c) mean[c] /= count[c];
  Influence out;
  out.estimate = (mean[0] + mean[1]) / 2;
  out.contributions.assign(clusters.size(), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = labels[i];
    out.contributions[clusters.of_row()[i]] +=
        real(clusters.size()) * (values[i] - mean[c]) / (2 * count[c]);
  }
  return out;
}

double influence_variance(std::span<const double> contributions) {
  constexpr auto* where = "stats.influence_variance";
  check_at_least(contributions.size(), 2, where, "clusters", "one cluster has no spread");
  check_finite(contributions, where, "contributions");
  return variance_of(contributions) / real(contributions.size());
}

Interval influence_interval(const Influence& influence, double confidence) {
  const double variance = influence_variance(influence.contributions);
  const std::size_t clusters = influence.contributions.size();
  Interval out =
      t_interval(influence.estimate, std::sqrt(variance), real(clusters - 1), confidence);
  out.clusters = clusters;
  return out;
}

}  // namespace tierod::stats

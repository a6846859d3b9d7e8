#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "stats/check_internal.h"

namespace tierod::internal {

inline double sum_of(std::span<const double> x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum;
}

inline double mean_of(std::span<const double> x) { return sum_of(x) / real(x.size()); }

/// Return the sum of squared deviations from the mean (two passes).
inline double scatter_of(std::span<const double> x) {
  const double mean = mean_of(x);
  double sum = 0;
  for (const double v : x) sum += (v - mean) * (v - mean);
  return sum;
}

/// Return the variance with n - 1 in the denominator.
inline double variance_of(std::span<const double> x) { return scatter_of(x) / real(x.size() - 1); }

/// Return the quantile of an ascending sample by linear interpolation (Hyndman & Fan 1996, type 7).
inline double sorted_quantile(std::span<const double> ascending, double p) {
  const double at = std::clamp(p, 0.0, 1.0) * real(ascending.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, ascending.size() - 1);
  const double weight = at - real(below);
  return ascending[below] + weight * (ascending[above] - ascending[below]);
}

/// Return the order [n] that sorts `values` ascending; ties keep their order.
inline std::vector<std::size_t> ascending_order(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  return order;
}

}  // namespace tierod::internal

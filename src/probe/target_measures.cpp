#include <algorithm>
#include <cmath>
#include <numeric>

#include "probe/evaluation_internal.h"
#include "probe/target_internal.h"
#include "stats/check_internal.h"
#include "stats/resampled_interval_internal.h"
#include "tierod/stats/influence.h"

namespace tierod::internal {

using stats::Interval;

UnitErrors::UnitErrors(const stats::Clusters& units, std::span<const double> values,
                       std::span<const double> predictions, std::span<const double> references)
    : errors_(units.size()), totals_(units.size()) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = values[i] - predictions[i], total = values[i] - references[i];
    errors_[units.of_row()[i]] += error * error;
    totals_[units.of_row()[i]] += total * total;
  }
}

double UnitErrors::r2(std::span<const double> weights) const {
  double error = 0, total = 0;
  for (std::size_t g = 0; g < errors_.size(); ++g) {
    error += weights[g] * errors_[g];
    total += weights[g] * totals_[g];
  }
  return total > 0 ? 1 - error / total : kNaN;
}

double UnitErrors::r2() const { return r2(std::vector<double>(errors_.size(), 1)); }

// Of the ratio q = E / T a unit moves (E_g - q T_g) / T.
stats::Influence UnitErrors::influence() const {
  stats::Influence out{.estimate = r2()};
  out.contributions.reserve(errors_.size());
  const double total = std::accumulate(totals_.begin(), totals_.end(), 0.0);
  for (std::size_t g = 0; g < errors_.size(); ++g) {
    out.contributions.push_back(real(errors_.size()) *
                                ((1 - out.estimate) * totals_[g] - errors_[g]) / total);
  }
  return out;
}

Interval r2_interval(const UnitErrors& own, std::span<const UnitErrors> baselines,
                     std::size_t units, const stats::RankingOptions& options) {
  const double share = baselines.empty() ? 0 : 1 / real(baselines.size());
  if (options.method == stats::RankingMethod::influence) {
    stats::Influence d = own.influence();
    for (const UnitErrors& baseline : baselines) {
      const stats::Influence b = baseline.influence();
      d.estimate -= share * b.estimate;
      for (std::size_t g = 0; g < units; ++g) d.contributions[g] -= share * b.contributions[g];
    }
    return stats::influence_interval(d, options.confidence);
  }
  const stats::Estimator estimator = [&](std::span<const double> weights) {
    double d = own.r2(weights);
    for (const UnitErrors& baseline : baselines) d -= share * baseline.r2(weights);
    return d;
  };
  return resampled_interval(estimator, units, options);
}

namespace {

// Midranks of numbers that count `weight(row)` times, up to a constant; `order` sorts the numbers.
template <typename Weight>
std::vector<double> midranks(std::span<const double> values, std::span<const std::size_t> order,
                             const Weight& weight) {
  std::vector<double> out(values.size());
  double below = 0;
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    double tied = 0;
    for (; end < order.size() && values[order[end]] == values[order[begin]]; ++end) {
      tied += weight(order[end]);
    }
    for (std::size_t i = begin; i < end; ++i) out[order[i]] = below + tied / 2;
    below += tied;
    begin = end;
  }
  return out;
}

std::vector<std::size_t> order_of(std::span<const double> values) {
  std::vector<std::size_t> out(values.size());
  std::iota(out.begin(), out.end(), std::size_t{0});
  std::sort(out.begin(), out.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  return out;
}

template <typename Weight>
double pearson(std::span<const double> a, std::span<const double> b, const Weight& weight) {
  double n = 0, mean_a = 0, mean_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    n += weight(i);
    mean_a += weight(i) * a[i];
    mean_b += weight(i) * b[i];
  }
  mean_a /= n;
  mean_b /= n;
  double aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i] - mean_a, y = b[i] - mean_b;
    aa += weight(i) * x * x;
    bb += weight(i) * y * y;
    ab += weight(i) * x * y;
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : kNaN;
}

bool varies(std::span<const double> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *low < *high;
}

double to_fisher(double r) {
  constexpr double kMost = 1 - 1e-12;  // of a perfect correlation the scale has no value
  return std::atanh(std::clamp(r, -kMost, kMost));
}

}  // namespace

Interval correlation_interval(const stats::Clusters& units, std::span<const double> a,
                              std::span<const double> b, bool ranks,
                              const stats::RankingOptions& options) {
  if (!varies(a) || !varies(b)) return no_interval();
  const auto of_row = units.of_row();
  std::vector<std::size_t> order_a, order_b;
  if (ranks) {
    order_a = order_of(a);
    order_b = order_of(b);
  }
  const auto correlation = [&](std::span<const double> weights) {
    const auto weight = [&](std::size_t row) { return weights[of_row[row]]; };
    if (!ranks) return pearson(a, b, weight);
    return pearson(midranks(a, order_a, weight), midranks(b, order_b, weight), weight);
  };
  stats::RankingOptions own = options;
  if (own.method == stats::RankingMethod::influence) own.method = stats::RankingMethod::jackknife;
  const stats::Estimator estimator = [&](std::span<const double> weights) {
    return to_fisher(correlation(weights));
  };
  Interval out = resampled_interval(estimator, units.size(), own);
  out.estimate = correlation(std::vector<double>(units.size(), 1));
  out.low = std::tanh(out.low);
  out.high = std::tanh(out.high);
  out.standard_error *= 1 - out.estimate * out.estimate;  // back from Fisher's scale
  return out;
}

}  // namespace tierod::internal

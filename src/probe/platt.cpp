#include <algorithm>
#include <cmath>
#include <cstddef>

#include "probe/platt_internal.h"

namespace tierod::internal {

double Platt::probability(double score) const {
  const double z = slope * score + offset;
  return z >= 0 ? 1 / (1 + std::exp(-z)) : std::exp(z) / (1 + std::exp(z));
}

Platt fit_platt(std::span<const float> scores, std::span<const std::uint8_t> labels) {
  double ones = 0;
  const auto n = static_cast<double>(labels.size());
  for (const std::uint8_t y : labels) ones += y;
  const double high = (ones + 1) / (ones + 2), low = 1 / (n - ones + 2);
  Platt fit{.slope = 0, .offset = std::log((ones + 1) / (n - ones + 1))};
  const auto loss = [&](const Platt& p) {
    double sum = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const double z = p.slope * scores[i] + p.offset, t = labels[i] != 0 ? high : low;
      sum += std::max(z, 0.0) - t * z + std::log1p(std::exp(-std::abs(z)));
    }
    return sum;
  };
  double now = loss(fit);
  for (int step = 0; step < 50; ++step) {
    double ga = 0, gb = 0, haa = 1e-12, hab = 0, hbb = 1e-12;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const double s = scores[i], p = fit.probability(s);
      const double g = p - (labels[i] != 0 ? high : low), h = p * (1 - p);
      ga += g * s;
      gb += g;
      haa += h * s * s;
      hab += h * s;
      hbb += h;
    }
    if (std::abs(ga) + std::abs(gb) < 1e-9 * n) break;
    const double det = haa * hbb - hab * hab;
    const double da = -(hbb * ga - hab * gb) / det, db = -(haa * gb - hab * ga) / det;
    double size = 1;
    Platt next = fit;
    double then = now;
    for (int halving = 0; halving < 34; ++halving, size /= 2) {
      next = {.slope = fit.slope + size * da, .offset = fit.offset + size * db};
      then = loss(next);
      if (then < now + 1e-4 * size * (ga * da + gb * db)) break;
    }
    if (!(then < now)) break;
    fit = next;
    now = then;
  }
  if (fit.slope < 0 || !std::isfinite(fit.slope)) {
    fit = {.slope = 0, .offset = std::log((ones + 1) / (n - ones + 1))};
  }
  return fit;
}

}  // namespace tierod::internal

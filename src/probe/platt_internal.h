#pragma once

#include <cstdint>
#include <span>

namespace tierod::internal {

/// Turn a score s into the probability 1 / (1 + exp(-(slope s + offset))).
struct Platt {
  double slope = 0;
  double offset = 0;
  double probability(double score) const;
};

/// Fit it by maximum likelihood with the smoothed targets of Platt (1999), "Probabilistic outputs
/// for support vector machines", section 2.2, and the Newton steps of Lin, Lin & Weng (2007). The
/// slope is kept from turning the order round: below 0 it becomes 0.
Platt fit_platt(std::span<const float> scores, std::span<const std::uint8_t> labels);

}  // namespace tierod::internal

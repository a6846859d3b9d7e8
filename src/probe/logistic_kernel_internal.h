#pragma once

#include <cstdint>

#include "tierod/export.h"

namespace tierod::internal {

/// Hold sums over the rows of one logistic fit, with z in {-1, 1}, or 0 where the label is missing,
/// m the margin w'x + b, p = sigmoid(-z m), r = -z p the slope of the loss, and v = p (1 - p).
struct LogisticSums {
  double slope = 0;     ///< sum of r
  double weight = 0;    ///< sum of v
  double first = 0;     ///< sum of v (m - b)
  double second = 0;    ///< sum of v (m - b)^2
  double mistakes = 0;  ///< rows with z m < 0

  void add(const LogisticSums& other, double sign = 1) {
    slope += sign * other.slope;
    weight += sign * other.weight;
    first += sign * other.first;
    second += sign * other.second;
    mistakes += sign * other.mistakes;
  }
};

/// Replace margins m [n] by slopes r, and add to the sums.
TIEROD_API void logistic_slopes(float* m, const float* z, std::int64_t n, float b,
                                LogisticSums& sums);
TIEROD_API void logistic_slopes(double* m, const double* z, std::int64_t n, double b,
                                LogisticSums& sums);

}  // namespace tierod::internal

#pragma once

#include <ATen/core/Tensor.h>

namespace tierod::internal {

/// Shrink a covariance S [d, d] of `rows` rows in place to (1 - g) S + g tr(S)/d I and return g:
/// the one asked for or, below 0, "oracle approximating shrinkage" from the covariance alone (Chen,
/// Wiesel, Eldar & Hero 2010, equation 23).
double shrink(at::Tensor& covariance, double rows, double asked);

}  // namespace tierod::internal

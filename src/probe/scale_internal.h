#pragma once

#include <ATen/core/Tensor.h>

namespace tierod::internal {

/// Return 1 / x, and 0 where x is 0 (up to 1e-300).
at::Tensor inverse_or_zero(const at::Tensor& x);

/// Return 1 / standard deviation of columns, and 0 where the variance is but the rounding of a
/// constant: blown up to variance 1, it would be an arbitrary column.
/// @param squares  of the size of the columns: mean squares, or squares of the mean
at::Tensor inverse_sd(const at::Tensor& variance, const at::Tensor& squares);

}  // namespace tierod::internal

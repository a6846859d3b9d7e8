#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace tierod::internal {

/// Return `rows` as contiguous CPU rows [n, d] of their own dtype (f16, bf16, f32, f64), detached.
/// @throws InvalidArgument unless 2-D, floating and of width 1 or more; NumericalError naming the
///         first row that is not finite.
at::Tensor checked_native_rows(const at::Tensor& rows, std::string_view where,
                               std::string_view name);

}  // namespace tierod::internal

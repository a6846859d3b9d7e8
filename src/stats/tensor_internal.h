#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace tierod::internal {

/// Return `rows` as contiguous CPU f64 [n, d], detached.
/// @throws InvalidArgument unless 2-D and floating; NumericalError naming the first bad row.
at::Tensor checked_rows(const at::Tensor& rows, std::string_view where, std::string_view name);

}  // namespace tierod::internal

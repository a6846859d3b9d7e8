#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tierod::internal {

/// Return `rows` as contiguous CPU rows [n, d] of their own dtype (f16, bf16, f32, f64), detached.
/// @throws InvalidArgument unless 2-D, floating and of width 1 or more; NumericalError naming the
///         first row that is not finite.
at::Tensor checked_native_rows(const at::Tensor& rows, std::string_view where,
                               std::string_view name);

/// Return the numbers of the rows of each fold, ascending.
/// @throws InvalidArgument naming the row whose fold there is not; `where` starts the message.
std::vector<std::vector<std::int64_t>> rows_by_fold(std::span<const std::uint32_t> folds,
                                                    std::size_t fold_count, std::string_view where);

}  // namespace tierod::internal

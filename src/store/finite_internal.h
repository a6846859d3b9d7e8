#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tierod::internal {

/// Count the rows of [rows, width] that hold NaN or Inf.
std::int64_t count_nonfinite(const void* data, std::int64_t rows, std::int64_t width,
                             at::ScalarType dtype) noexcept;
/// Return the first such row, -1 if there is none.
std::int64_t first_nonfinite(const void* data, std::int64_t rows, std::int64_t width,
                             at::ScalarType dtype) noexcept;

}  // namespace tierod::internal

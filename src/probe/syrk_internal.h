#pragma once

#include <cstdint>

#include "tierod/export.h"

namespace tierod::internal {

/// Tell whether this processor can run `add_syrk`.
TIEROD_API bool has_syrk() noexcept;

/// Add sign * X'X to the lower triangle of gram [d, d], f64, for X [n, d] f32, row-major. Products
/// of up to 256 rows are summed in f32. Uses ATen's threads.
TIEROD_API void add_syrk(const float* x, std::int64_t n, std::int64_t d, double sign, double* gram);

}  // namespace tierod::internal

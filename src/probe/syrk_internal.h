#pragma once

#include <cstdint>

#include "tierod/export.h"

namespace tierod::internal {

/// Return how many ways this processor has to run `add_syrk`: 2 with AVX-512, 1 with AVX2, else 0.
TIEROD_API int syrk_kernels() noexcept;

/// Add sign * X'X to the lower triangle of gram [d, d], f64, for X [n, d] f32, row-major. Products
/// of up to 256 rows are summed in f32. Uses ATen's threads. `kernel` is the number of a way, the
/// last being the fastest; -1 takes that.
TIEROD_API void add_syrk(const float* x, std::int64_t n, std::int64_t d, double sign, double* gram,
                         int kernel = -1);

}  // namespace tierod::internal

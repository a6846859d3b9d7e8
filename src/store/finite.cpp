#include <algorithm>

#include "store/finite_internal.h"

namespace tierod::internal {

namespace {

// A copy for processors with AVX2 is made beside the plain one, and chosen when the library loads;
// sanitizers are not ready that early.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TIEROD_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define TIEROD_CLONES
#endif

// Without the sign, the bits of a float order as integers, and NaN and Inf are the largest. A
// maximum over a row has no branch and becomes vector code.
TIEROD_CLONES bool row_is_finite(const std::int16_t* row, std::int64_t width,
                                 std::int16_t exponent) noexcept {
  std::int16_t most = 0;
  for (std::int64_t i = 0; i < width; ++i) {
    most = std::max(most, static_cast<std::int16_t>(row[i] & 0x7FFF));
  }
  return most < exponent;
}

TIEROD_CLONES bool row_is_finite(const std::int32_t* row, std::int64_t width,
                                 std::int32_t exponent) noexcept {
  std::int32_t most = 0;
  for (std::int64_t i = 0; i < width; ++i) most = std::max(most, row[i] & 0x7FFFFFFF);
  return most < exponent;
}

template <typename Visit>
void each_row(const void* data, std::int64_t rows, std::int64_t width, at::ScalarType dtype,
              Visit&& visit) noexcept {
  const auto walk = [&](const auto* values, auto exponent) {
    for (std::int64_t r = 0; r < rows; ++r) {
      if (!row_is_finite(values + r * width, width, exponent) && !visit(r)) return;
    }
  };
  if (dtype == at::kFloat) {
    walk(static_cast<const std::int32_t*>(data), std::int32_t{0x7F800000});
  } else {
    walk(static_cast<const std::int16_t*>(data),
         dtype == at::kHalf ? std::int16_t{0x7C00} : std::int16_t{0x7F80});
  }
}

}  // namespace

std::int64_t count_nonfinite(const void* data, std::int64_t rows, std::int64_t width,
                             at::ScalarType dtype) noexcept {
  std::int64_t count = 0;
  each_row(data, rows, width, dtype, [&](std::int64_t /*row*/) {
    ++count;
    return true;
  });
  return count;
}

std::int64_t first_nonfinite(const void* data, std::int64_t rows, std::int64_t width,
                             at::ScalarType dtype) noexcept {
  std::int64_t first = -1;
  each_row(data, rows, width, dtype, [&](std::int64_t row) {
    first = row;
    return false;
  });
  return first;
}

}  // namespace tierod::internal

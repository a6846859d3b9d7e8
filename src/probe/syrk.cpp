#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "probe/syrk_internal.h"

// Note [Symmetric products]
// ATen has no syrk, and its f32 product reaches three quarters of what the processor can do on the
// machines where MKL does not know it. A tile of 6 x 16 sums lives in twelve registers; the rows of
// a block are packed twice, in strips of 6 columns to be broadcast and of 16 to be loaded (Goto &
// van de Geijn 2008). Only tiles that reach the lower triangle are computed.
namespace tierod::internal {

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

constexpr std::int64_t kDepth = 256;  // rows of a block
constexpr std::int64_t kTall = 6, kWide = 16;

using Floats = float __attribute__((vector_size(32)));

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, Free>;

Buffer buffer(std::int64_t floats) {
  const auto bytes = (static_cast<std::size_t>(floats) * sizeof(float) + 63) / 64 * 64;
  return Buffer(static_cast<float*>(std::aligned_alloc(64, bytes)));
}

// Strips of `width` columns, each [depth, width], columns beyond d as 0.
template <std::int64_t width>
void pack(const float* x, std::int64_t depth, std::int64_t d, float* to) {
  for (std::int64_t c = 0; c < d; c += width) {
    const std::int64_t columns = std::min(width, d - c);
    for (std::int64_t k = 0; k < depth; ++k, to += width) {
      if (columns == width) {
        std::memcpy(to, x + k * d + c, width * sizeof(float));
      } else {
        std::memset(to, 0, width * sizeof(float));
        std::memcpy(to, x + k * d + c, static_cast<std::size_t>(columns) * sizeof(float));
      }
    }
  }
}

__attribute__((target("avx2,fma"))) void tile(const float* a, const float* b, std::int64_t depth,
                                              float* out) {
  Floats c00{}, c01{}, c10{}, c11{}, c20{}, c21{}, c30{}, c31{}, c40{}, c41{}, c50{}, c51{};
#pragma GCC unroll 4
  for (std::int64_t k = 0; k < depth; ++k, a += kTall, b += kWide) {
    Floats b0, b1;
    std::memcpy(&b0, b, sizeof b0);
    std::memcpy(&b1, b + 8, sizeof b1);
    c00 += a[0] * b0;
    c01 += a[0] * b1;
    c10 += a[1] * b0;
    c11 += a[1] * b1;
    c20 += a[2] * b0;
    c21 += a[2] * b1;
    c30 += a[3] * b0;
    c31 += a[3] * b1;
    c40 += a[4] * b0;
    c41 += a[4] * b1;
    c50 += a[5] * b0;
    c51 += a[5] * b1;
  }
  const Floats all[12] = {c00, c01, c10, c11, c20, c21, c30, c31, c40, c41, c50, c51};
  std::memcpy(out, all, sizeof all);
}

__attribute__((target("avx2,fma"))) void add(double* to, const float* sums, double sign,
                                             std::int64_t columns) {
  if (columns == kWide) {
    for (std::int64_t j = 0; j < kWide; ++j) to[j] += sign * static_cast<double>(sums[j]);
  } else {
    for (std::int64_t j = 0; j < columns; ++j) to[j] += sign * static_cast<double>(sums[j]);
  }
}

}  // namespace

bool has_syrk() noexcept {
  static const bool can = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  return can;
}

void add_syrk(const float* x, std::int64_t n, std::int64_t d, double sign, double* gram) {
  const std::int64_t strips = (d + kWide - 1) / kWide, tall = (d + kTall - 1) / kTall;
  const std::int64_t most = std::min(n, kDepth);
  const Buffer a = buffer(tall * kTall * most), b = buffer(strips * kWide * most);
  for (std::int64_t begin = 0; begin < n; begin += kDepth) {
    const std::int64_t depth = std::min(kDepth, n - begin);
    pack<kTall>(x + begin * d, depth, d, a.get());
    pack<kWide>(x + begin * d, depth, d, b.get());
    at::parallel_for(0, strips, 1, [&](std::int64_t from, std::int64_t to) {
      float sums[kTall * kWide];
      for (std::int64_t s = from; s < to; ++s) {
        // the first and the last strip together have as much to do as any other pair
        const std::int64_t strip = s % 2 == 0 ? s / 2 : strips - 1 - s / 2;
        const std::int64_t left = strip * kWide;
        for (std::int64_t t = left / kTall; t < tall; ++t) {
          tile(a.get() + t * kTall * depth, b.get() + strip * kWide * depth, depth, sums);
          for (std::int64_t i = 0; i < std::min(kTall, d - t * kTall); ++i) {
            const std::int64_t row = t * kTall + i;
            // what a tile has right of the diagonal is not asked for
            add(gram + row * d + left, sums + i * kWide, sign, std::min(kWide, row - left + 1));
          }
        }
      }
    });
  }
}

#else

bool has_syrk() noexcept { return false; }
void add_syrk(const float* /*x*/, std::int64_t /*n*/, std::int64_t /*d*/, double /*sign*/,
              double* /*gram*/) {}

#endif

}  // namespace tierod::internal

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "probe/syrk_internal.h"

// Note [Symmetric products]
// ATen has no syrk, and its f32 product reaches three quarters of what the processor can do on the
// machines where MKL does not know it. A tile of sums lives in registers, 6 x 16 in twelve of AVX2
// or 12 x 32 in 24 of AVX-512; the rows of a block are packed twice, in strips of as many columns
// as a tile has rows, to be broadcast, and as it has columns, to be loaded (Goto & van de Geijn
// 2008). Only tiles that reach the lower triangle are computed.
namespace tierod::internal {

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

constexpr std::int64_t kDepth = 256;  // rows of a block

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

using Floats = float __attribute__((vector_size(32)));
using WideFloats = float __attribute__((vector_size(64)));

__attribute__((target("avx2,fma"))) void tile_6x16(const float* a, const float* b,
                                                   std::int64_t depth, float* out) {
  Floats sums[6][2] = {};
  for (std::int64_t k = 0; k < depth; ++k, a += 6, b += 16) {
    Floats right0, right1;
    std::memcpy(&right0, b, sizeof right0);
    std::memcpy(&right1, b + 8, sizeof right1);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      sums[i][0] += a[i] * right0;
      sums[i][1] += a[i] * right1;
    }
  }
#pragma GCC unroll 6
  for (std::ptrdiff_t i = 0; i < 6;
       ++i) {  // one by one, or the array would stay in memory all the time
    std::memcpy(out + 16 * i, &sums[i][0], sizeof sums[i][0]);
    std::memcpy(out + 16 * i + 8, &sums[i][1], sizeof sums[i][1]);
  }
}

__attribute__((target("avx512f"))) void tile_12x32(const float* a, const float* b,
                                                   std::int64_t depth, float* out) {
  WideFloats sums[12][2] = {};
  for (std::int64_t k = 0; k < depth; ++k, a += 12, b += 32) {
    WideFloats right0, right1;
    std::memcpy(&right0, b, sizeof right0);
    std::memcpy(&right1, b + 16, sizeof right1);
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) {
      sums[i][0] += a[i] * right0;
      sums[i][1] += a[i] * right1;
    }
  }
#pragma GCC unroll 12
  for (std::ptrdiff_t i = 0; i < 12;
       ++i) {  // one by one, or the array would stay in memory all the time
    std::memcpy(out + 32 * i, &sums[i][0], sizeof sums[i][0]);
    std::memcpy(out + 32 * i + 16, &sums[i][1], sizeof sums[i][1]);
  }
}

/// How wide the processor's registers are decides the tile.
struct Kernel {
  std::int64_t tall, wide;
  void (*tile)(const float* a, const float* b, std::int64_t depth, float* out);
  void (*pack_tall)(const float* x, std::int64_t depth, std::int64_t d, float* to);
  void (*pack_wide)(const float* x, std::int64_t depth, std::int64_t d, float* to);
};

constexpr Kernel kKernels[] = {{6, 16, tile_6x16, pack<6>, pack<16>},
                               {12, 32, tile_12x32, pack<12>, pack<32>}};

__attribute__((target("avx2,fma"))) void add(double* to, const float* sums, double sign,
                                             std::int64_t columns) {
  for (std::int64_t j = 0; j < columns; ++j) to[j] += sign * static_cast<double>(sums[j]);
}

}  // namespace

int syrk_kernels() noexcept {
  static const int count = [] {
    if (__builtin_cpu_supports("avx2") == 0 || __builtin_cpu_supports("fma") == 0) return 0;
    return __builtin_cpu_supports("avx512f") != 0 ? 2 : 1;
  }();
  return count;
}

void add_syrk(const float* x, std::int64_t n, std::int64_t d, double sign, double* gram,
              int kernel) {
  constexpr std::int64_t kLargestTile = std::int64_t{12} * 32;
  const Kernel& use = kKernels[kernel < 0 ? syrk_kernels() - 1 : kernel];
  const std::int64_t strips = (d + use.wide - 1) / use.wide, tall = (d + use.tall - 1) / use.tall;
  const std::int64_t most = std::min(n, kDepth);
  const Buffer a = buffer(tall * use.tall * most), b = buffer(strips * use.wide * most);
  for (std::int64_t begin = 0; begin < n; begin += kDepth) {
    const std::int64_t depth = std::min(kDepth, n - begin);
    use.pack_tall(x + begin * d, depth, d, a.get());
    use.pack_wide(x + begin * d, depth, d, b.get());
    at::parallel_for(0, strips, 1, [&](std::int64_t from, std::int64_t to) {
      alignas(64) float sums[kLargestTile];
      for (std::int64_t s = from; s < to; ++s) {
        // the first and the last strip together have as much to do as any other pair
        const std::int64_t strip = s % 2 == 0 ? s / 2 : strips - 1 - s / 2;
        const std::int64_t left = strip * use.wide;
        for (std::int64_t t = left / use.tall; t < tall; ++t) {
          use.tile(a.get() + t * use.tall * depth, b.get() + strip * use.wide * depth, depth, sums);
          for (std::int64_t i = 0; i < std::min(use.tall, d - t * use.tall); ++i) {
            const std::int64_t row = t * use.tall + i;
            // what a tile has right of the diagonal is not asked for
            add(gram + row * d + left, sums + i * use.wide, sign,
                std::min(use.wide, row - left + 1));
          }
        }
      }
    });
  }
}

#else

int syrk_kernels() noexcept { return 0; }
void add_syrk(const float* /*x*/, std::int64_t /*n*/, std::int64_t /*d*/, double /*sign*/,
              double* /*gram*/, int /*kernel*/) {}

#endif

}  // namespace tierod::internal

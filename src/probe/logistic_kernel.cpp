#include <cmath>
#include <cstring>
#include <numbers>

#include "probe/logistic_kernel_internal.h"

namespace tierod::internal {

namespace {

// A copy for processors with AVX2 and FMA is made beside the plain one, and chosen when the library
// loads; sanitizers are not ready that early.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TIEROD_CLONES __attribute__((target_clones("arch=haswell", "default")))
#else
#define TIEROD_CLONES
#endif

constexpr int kLanes = 8;
using Floats = float __attribute__((vector_size(4 * kLanes)));
using Ints = std::int32_t __attribute__((vector_size(4 * kLanes)));

struct Lanes {
  Floats slope{}, weight{}, first{}, second{}, mistakes{};
};

double total(const Floats& x) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += static_cast<double>(x[i]);
  return sum;
}

// exp(-|z m|) by Cody & Waite's reduction to [-ln 2 / 2, ln 2 / 2] and its Taylor polynomial of
// degree 6, good to 2e-7 there.
TIEROD_CLONES void slopes(float* margins, const float* signs, std::int64_t n, float b,
                          Lanes& sums) {
  Floats slope{}, weight{}, first{}, second{}, mistakes{};
  for (std::int64_t i = 0; i < n; i += kLanes) {
    Floats m, z;
    std::memcpy(&m, margins + i, sizeof m);
    std::memcpy(&z, signs + i, sizeof z);
    const Floats zm = z * m;
    Floats x = zm < 0 ? zm : -zm;
    x = x < -87.0F ? Floats{} - 87.0F : x;
    const Floats turns =
        x * std::numbers::log2e_v<float> + 12582912.0F;  // 1.5 * 2^23 rounds to the next integer
    const Floats whole = turns - 12582912.0F;
    // ln 2 in two parts, of which the first is exact: NOLINTNEXTLINE(modernize-use-std-numbers)
    const Floats f = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
    Floats e = f * (1.0F / 720) + 1.0F / 120;
    e = e * f + 1.0F / 24;
    e = e * f + 1.0F / 6;
    e = e * f + 0.5F;
    e = e * f + 1.0F;
    e = e * f + 1.0F;
    const Ints bits = (__builtin_convertvector(whole, Ints) + 127) << 23;
    Floats power;
    std::memcpy(&power, &bits, sizeof power);
    e *= power;
    const Floats inverse = 1.0F / (1.0F + e);
    const Floats r = -z * (zm > 0 ? e * inverse : inverse);
    const Floats v = z * z * e * inverse * inverse;
    const Floats from = m - b;
    slope += r;
    weight += v;
    first += v * from;
    second += v * from * from;
    mistakes += zm < 0 ? Floats{} + 1.0F : Floats{};
    std::memcpy(margins + i, &r, sizeof r);
  }
  sums.slope += slope;
  sums.weight += weight;
  sums.first += first;
  sums.second += second;
  sums.mistakes += mistakes;
}

}  // namespace

void logistic_slopes(float* m, const float* z, std::int64_t n, float b, LogisticSums& sums) {
  Lanes lanes;
  const std::int64_t whole = n / kLanes * kLanes;
  slopes(m, z, whole, b, lanes);
  if (whole < n) {  // z = 0 counts for nothing
    float margins[kLanes] = {}, signs[kLanes] = {};
    const auto bytes = static_cast<std::size_t>(n - whole) * sizeof(float);
    std::memcpy(margins, m + whole, bytes);
    std::memcpy(signs, z + whole, bytes);
    slopes(margins, signs, kLanes, b, lanes);
    std::memcpy(m + whole, margins, bytes);
  }
  sums.add({.slope = total(lanes.slope),
            .weight = total(lanes.weight),
            .first = total(lanes.first),
            .second = total(lanes.second),
            .mistakes = total(lanes.mistakes)});
}

void logistic_slopes(double* m, const double* z, std::int64_t n, double b, LogisticSums& sums) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double zm = z[i] * m[i], from = m[i] - b;
    const double e = std::exp(-std::abs(zm));
    const double inverse = 1 / (1 + e);
    const double v = z[i] * z[i] * e * inverse * inverse;
    m[i] = -z[i] * (zm > 0 ? e * inverse : inverse);
    sums.slope += m[i];
    sums.weight += v;
    sums.first += v * from;
    sums.second += v * from * from;
    sums.mistakes += zm < 0 ? 1 : 0;
  }
}

}  // namespace tierod::internal

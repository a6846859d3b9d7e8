#include "tierod/stats/energy_distance.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <vector>

#include "core/tensor_internal.h"
#include "stats/check_internal.h"
#include "stats/permutation_internal.h"
#include "stats/tensor_internal.h"

namespace tierod::stats {

using tierod::internal::cannot_reach;
using tierod::internal::check_at_least;
using tierod::internal::check_binary;
using tierod::internal::check_fraction;
using tierod::internal::check_same_length;
using tierod::internal::checked_rows;
using tierod::internal::count_reaching;
using tierod::internal::length;
using tierod::internal::permutation_p;
using tierod::internal::real;

namespace {

constexpr std::int64_t kRowsAtOnce = 512;

// With u = 1/n1 on the ones and -1/n0 on the zeros, the distance is -u' D u.
void fill_contrast(std::span<const double> labels, double ones, double* out, std::size_t stride) {
  const double zeros = real(labels.size()) - ones;
  for (const double label : labels) {
    *out = label != 0 ? 1 / ones : -1 / zeros;
    out += stride;
  }
}

// -u' D u for each column u of `contrasts` [n, m].
std::vector<double> distances(const at::Tensor& x, const at::Tensor& contrasts) {
  at::Tensor sum = at::zeros({contrasts.size(1)}, contrasts.options());
  for (std::int64_t begin = 0; begin < x.size(0); begin += kRowsAtOnce) {
    const std::int64_t size = std::min(kRowsAtOnce, x.size(0) - begin);
    // mode 2: never by |x|^2 + |y|^2 - 2 x'y, which cancels for rows that lie close together
    const at::Tensor d = at::cdist(x.narrow(0, begin, size), x, 2.0, 2);
    sum.add_(at::mm(d, contrasts).mul_(contrasts.narrow(0, begin, size)).sum(0));
  }
  const at::Tensor out = sum.neg().contiguous();
  const auto* p = out.const_data_ptr<double>();
  return {p, p + out.numel()};
}

at::Tensor check(const at::Tensor& rows, std::span<const std::uint8_t> labels, const char* where) {
  at::Tensor x = checked_rows(rows, where, "rows");
  check_same_length(labels.size(), static_cast<std::size_t>(x.size(0)), where, "labels", "rows");
  check_binary(labels, where);
  return x;
}

}  // namespace

double energy_distance(const at::Tensor& rows, std::span<const std::uint8_t> labels) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = check(rows, labels, "stats.energy_distance");
  const std::vector<double> y(labels.begin(), labels.end());
  const auto ones = real(static_cast<std::size_t>(std::count(y.begin(), y.end(), 1.0)));
  at::Tensor u = at::empty({x.size(0), 1}, x.options());
  fill_contrast(y, ones, u.mutable_data_ptr<double>(), 1);
  return distances(x, u)[0];
}

PermutationResult energy_distance_test(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                                       std::span<const std::int64_t> groups,
                                       std::span<const std::int64_t> strata,
                                       const PermutationOptions& options) {
  constexpr auto* where = "stats.energy_distance_test";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = check(rows, labels, where);
  check_at_least(options.permutations, 1, where, "permutations", "p would be 1");
  check_fraction(options.alpha, where, "alpha");
  if (options.alternative != Alternative::greater) {
    throw InvalidArgument(tierod::internal::cat(
        "[", where, "] expected the alternative 'greater': a distance is large or it is not"));
  }
  const std::vector<double> y(labels.begin(), labels.end());
  const GroupPermutation permutation(y, groups, strata, options.unit);
  const std::size_t count = options.permutations;
  at::Tensor contrasts = at::empty({x.size(0), length(count + 1)}, x.options());
  auto* u = contrasts.mutable_data_ptr<double>();
  std::vector<double> permuted = y;
  for (std::size_t b = 0; b <= count; ++b) {
    if (b > 0) permutation.permute(options.seed, b - 1, permuted);
    // groups of unequal size change how many rows are ones
    const auto ones =
        real(static_cast<std::size_t>(std::count(permuted.begin(), permuted.end(), 1.0)));
    fill_contrast(permuted, ones, u + b, count + 1);
  }
  PermutationResult out{.permutations = count,
                        .smallest_p = permutation.smallest_p(count),
                        .log10_arrangements = permutation.log10_arrangements()};
  out.null = distances(x, contrasts);
  out.statistic = out.null.front();
  out.null.erase(out.null.begin());
  out.exceeding = count_reaching(out.null, out.statistic);
  out.p = permutation_p(out.exceeding, count);
  out.note = cannot_reach(out.smallest_p, options.alpha, count);
  return out;
}

}  // namespace tierod::stats

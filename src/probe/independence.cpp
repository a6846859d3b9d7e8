#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/tensor_internal.h"
#include "probe/independence_internal.h"
#include "tierod/core/random.h"
#include "tierod/stats/permutation.h"

namespace tierod::internal {

at::Tensor draw_signs(std::size_t rounds, std::size_t units, std::uint64_t seed) {
  const CounterRandom random(seed, "probe.sign_flip");
  at::Tensor out = at::empty({length(rounds) + 1, length(units)}, at::kDouble);
  auto* sign = out.mutable_data_ptr<double>();
  for (std::size_t b = 0; b <= rounds; ++b) {
    for (std::size_t g = 0; g < units; ++g) {
      const bool flip = b > 0 && (random.bits(b, static_cast<std::uint32_t>(g), 0) & 1U) != 0;
      *sign++ = flip ? -1 : 1;
    }
  }
  return out;
}

// Note [Sign flips of a quadratic form]
// Where labels vary within units there is nothing whole to permute. A unit's cross-covariance
// u_g = sum over its rows of (z - mean z)(x - mean x), with the means of its stratum, has
// expectation 0 when labels and activations are independent within strata, whatever goes on within
// the unit, and T = sum_{g != h} u_g'u_h collects what different units agree on. With the means
// of all rows u_g would have the sign of what strata differ in, in each unit alike. Flipping the
// signs of whole units gives the null distribution of T (the wild bootstrap of degenerate
// U-statistics, Dehling & Mikosch 1994). Nothing in it asks z to be 0 or 1.
//
// The means are of the same rows, which ties units of a stratum to each other: E T is not 0 but of
// the order of trace(cov x) var z. So what is flipped is the centred label, and it is centred
// again: u*_g = s_g u_g - m X_g, with X_g the sum of the unit's centred rows and m the mean in the
// stratum of the flipped labels. The sum of the u*_g is still sum_g s_g u_g, as X sums to 0.
//
// The scale sqrt(2 sum_{g != h} (u_g'u_h)^2) is the same under every flip and puts sites on one
// footing. Flipping the contributions to a cross-validated AUROC instead would be wrong: without
// signal two units repeat each other's error, since each is scored by a probe that saw the other's
// label.
SignFlips::SignFlips(const SharedRows& rows, std::span<const double> values, at::Tensor signs)
    : signs_(std::move(signs)), centred_(rows.centred(doubles_of(values).unsqueeze(1))) {
  const at::Tensor of_unit = rows.unit_sums(centred_);
  at::Tensor member = at::zeros({of_unit.size(0), length(rows.strata())}, of_unit.options());
  auto* m = member.mutable_data_ptr<double>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    m[rows.clusters().of_row()[r] * rows.strata() + static_cast<std::size_t>(rows.stratum()[r])] =
        1;
  }
  means_ =
      at::mm(at::mm(signs_.mul(of_unit.t()), member).div_(rows.stratum_rows().t()), member.t());
}

std::vector<double> SignFlips::statistics(const SharedRows& rows, const at::Tensor& whitened,
                                          const at::Tensor& unit_sums) const {
  const at::Tensor u = rows.unit_sums(whitened.mul(centred_));
  at::Tensor kernel = at::mm(u, u.t());
  kernel.diagonal().zero_();
  const double scale = std::sqrt(2 * kernel.square().sum().item<double>());
  std::vector<double> out(static_cast<std::size_t>(signs_.size(0)));
  if (!(scale > 0)) return out;
  at::Tensor forms = at::mm(signs_, kernel).mul_(signs_).sum(1);
  forms.add_(at::mv(signs_.mul(means_), u.mul(unit_sums).sum(1)), 2);
  forms.sub_(at::mv(means_.square(), unit_sums.square().sum(1)));
  const auto* t = forms.const_data_ptr<double>();
  std::transform(t, t + out.size(), out.begin(), [&](double form) { return form / scale; });
  return out;
}

UnitPermutations::UnitPermutations(const SharedRows& rows, std::span<const double> values,
                                   std::size_t rounds, std::uint64_t seed) {
  std::vector<std::int64_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), std::int64_t{0});
  const std::vector<std::int64_t> strata = rows.unit_strata();
  std::vector<double> sum(rows.strata()), count(rows.strata()),
      centred(values.begin(), values.end());
  for (std::size_t g = 0; g < values.size(); ++g) {
    sum[static_cast<std::size_t>(strata[g])] += values[g];
    count[static_cast<std::size_t>(strata[g])] += 1;
  }
  for (std::size_t g = 0; g < values.size(); ++g) {
    const auto s = static_cast<std::size_t>(strata[g]);
    centred[g] -= sum[s] / count[s];
  }
  const stats::GroupPermutation permutation(centred, ids, strata);
  smallest_p_ = permutation.smallest_p(rounds);
  values_ = at::empty({length(rounds) + 1, length(values.size())}, at::kDouble);
  std::copy(centred.begin(), centred.end(), values_.mutable_data_ptr<double>());
  for (std::size_t b = 0; b < rounds; ++b) {
    permutation.permute(
        seed, b, {values_.mutable_data_ptr<double>() + (b + 1) * values.size(), values.size()});
  }
}

// T = sum_{g != h} z_g z_h x_g'x_h collects, like a held-out score, what different units agree on.
// Its mean and standard deviation under permutation differ from site to site; T less the one over
// the other is on one footing, and since both count the observed arrangement among the others, the
// test stays exact.
std::vector<double> UnitPermutations::statistics(const at::Tensor& unit_means) const {
  at::Tensor kernel = at::mm(unit_means, unit_means.t());
  kernel.diagonal().zero_();
  const at::Tensor forms = at::mm(values_, kernel).mul_(values_).sum(1);
  std::vector<double> out(static_cast<std::size_t>(forms.numel()));
  const auto mean = forms.mean().item<double>();
  const auto sd = forms.sub(mean).square().mean().sqrt().item<double>();
  const auto largest = forms.abs().max().item<double>();
  if (!(sd > 1e-13 * largest)) return out;
  const auto* t = forms.const_data_ptr<double>();
  std::transform(t, t + out.size(), out.begin(), [&](double form) { return (form - mean) / sd; });
  return out;
}

}  // namespace tierod::internal

#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <map>

#include "core/tensor_internal.h"
#include "probe/scale_internal.h"
#include "probe/shared_rows_internal.h"

namespace tierod::internal {

SharedRows::SharedRows(std::span<const std::size_t> rows, std::span<const std::int64_t> units,
                       std::span<const std::int64_t> strata)
    : clusters_(units, 2, "probe.evaluate"),
      index_(index_of(rows)),
      unit_(index_of(clusters_.of_row())),
      unit_rows_(doubles_of(clusters_.counts()).unsqueeze(1)) {
  std::map<std::int64_t, std::int64_t> number;
  std::vector<std::int64_t> of_row;
  of_row.reserve(rows.size());
  for (const std::size_t row : rows) {
    of_row.push_back(strata.empty() ? 0 : strata[row]);
    number.emplace(of_row.back(), 0);
  }
  std::int64_t next = 0;
  for (auto& [stratum, at] : number) at = next++;
  std::vector<double> counts(number.size());
  for (std::int64_t& stratum : of_row) {
    stratum = number[stratum];
    counts[static_cast<std::size_t>(stratum)] += 1;
  }
  stratum_ = index_of(of_row);
  stratum_rows_ = doubles_of(counts).unsqueeze(1);
}

std::span<const std::int64_t> SharedRows::stratum() const noexcept {
  return {stratum_.const_data_ptr<std::int64_t>(), size()};
}

std::vector<std::int64_t> SharedRows::unit_strata() const {
  std::vector<std::int64_t> out(clusters_.size());
  for (std::size_t r = 0; r < size(); ++r) out[clusters_.of_row()[r]] = stratum()[r];
  return out;
}

at::Tensor SharedRows::centred(const at::Tensor& values) const {
  at::Tensor sums = at::zeros({stratum_rows_.size(0), values.size(1)}, values.options());
  sums.index_add_(0, stratum_, values);
  return values.sub(sums.div_(stratum_rows_).index_select(0, stratum_));
}

at::Tensor SharedRows::unit_sums(const at::Tensor& values) const {
  at::Tensor sums = at::zeros({length(clusters_.size()), values.size(1)}, values.options());
  sums.index_add_(0, unit_, values);
  return sums;
}

at::Tensor SharedRows::unit_means(const at::Tensor& unit_sums) const {
  return unit_sums.div(unit_rows_);
}

// The statistics of the tests are mean differences and cross-covariances, which a few columns of
// huge variance would drown. So rows are whitened first, on columns of variance 1 and with the
// correlations shrunk by a tenth; labels play no part in it, and so permuting them stays fair. A
// mean difference of whitened rows is what ridge and discriminant analysis read. Both are taken
// within strata, whose differences no test may use.
at::Tensor SharedRows::whitened(const at::Tensor& site) const {
  const at::Tensor rows = site.index_select(0, index_.to(site.device())).to(at::kCPU, at::kDouble);
  const at::Tensor centred = this->centred(rows);
  const at::Tensor variance = centred.square().mean(0);
  const at::Tensor x = centred.mul(inverse_sd(variance, rows.square().mean(0)));
  const auto [values, vectors] = at::linalg_eigh(at::mm(x.t(), x).div(static_cast<double>(size())));
  return at::mm(x, vectors).mul(values.clamp_min(0).mul(0.9).add(0.1).rsqrt());
}

}  // namespace tierod::internal

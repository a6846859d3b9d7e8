#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tierod/stats/clusters.h"

namespace tierod::internal {

/// Hold where the rows stand, by unit and by stratum, that some concepts or targets share: those
/// whose label is known.
class SharedRows {
 public:
  /// @param rows    [n] numbers in the dataset
  /// @param units   [n] of these rows
  /// @param strata  of all rows of the dataset; empty: one stratum
  SharedRows(std::span<const std::size_t> rows, std::span<const std::int64_t> units,
             std::span<const std::int64_t> strata);

  std::size_t size() const noexcept { return static_cast<std::size_t>(index_.size(0)); }
  const stats::Clusters& clusters() const noexcept { return clusters_; }
  std::size_t strata() const noexcept { return static_cast<std::size_t>(stratum_rows_.size(0)); }
  /// Return the stratum [n] of each row, 0, 1, ...
  std::span<const std::int64_t> stratum() const noexcept;
  /// Return the number of rows [S, 1] of each stratum, f64.
  const at::Tensor& stratum_rows() const noexcept { return stratum_rows_; }
  /// Return the stratum [G] of each unit.
  std::vector<std::int64_t> unit_strata() const;

  /// Return `values` [n, d] less the means of their strata.
  at::Tensor centred(const at::Tensor& values) const;
  /// Return the sums [G, d] of `values` [n, d] by unit.
  at::Tensor unit_sums(const at::Tensor& values) const;
  /// Return the means [G, d] of unit sums.
  at::Tensor unit_means(const at::Tensor& unit_sums) const;
  /// Return the rows [n, d] of a site, centred within strata and whitened, f64.
  at::Tensor whitened(const at::Tensor& site) const;

 private:
  stats::Clusters clusters_;
  at::Tensor index_;         // int64 [n] in the dataset
  at::Tensor unit_;          // int64 [n]
  at::Tensor unit_rows_;     // f64 [G, 1]
  at::Tensor stratum_;       // int64 [n]
  at::Tensor stratum_rows_;  // f64 [S, 1]
};

}  // namespace tierod::internal

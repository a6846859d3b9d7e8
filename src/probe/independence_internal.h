#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "probe/shared_rows_internal.h"

namespace tierod::internal {

/// Draw signs [B + 1, G], 1 or -1; the first row is the sample itself, all 1.
at::Tensor draw_signs(std::size_t rounds, std::size_t units, std::uint64_t seed);

/// Test, at one site after the other, whether numbers that vary within units are independent of
/// whitened rows, by flipping the signs of whole units (Note [Sign flips of a quadratic form]).
class SignFlips {
 public:
  /// @param values  [n] labels or targets
  /// @param signs   [B + 1, G]
  SignFlips(const SharedRows& rows, std::span<const double> values, at::Tensor signs);
  /// Return the statistic [B + 1] at a site; the first is the observed one.
  /// @param whitened   [n, d]
  /// @param unit_sums  [G, d] of these
  std::vector<double> statistics(const SharedRows& rows, const at::Tensor& whitened,
                                 const at::Tensor& unit_sums) const;

 private:
  at::Tensor signs_;    // [B + 1, G]
  at::Tensor centred_;  // [n, 1]
  at::Tensor means_;    // [B + 1, G] of the flipped numbers in the unit's stratum
};

/// Test whether numbers that are constant within units are independent of the units' mean rows, by
/// permuting whole units within strata.
class UnitPermutations {
 public:
  /// @param values  [G]
  /// @throws InvalidArgument if no permutation changes anything.
  UnitPermutations(const SharedRows& rows, std::span<const double> values, std::size_t rounds,
                   std::uint64_t seed);
  /// Return the statistic [B + 1] at a site; the first is the observed one.
  /// @param unit_means  [G, d] of whitened rows
  std::vector<double> statistics(const at::Tensor& unit_means) const;
  /// Return the smallest p that these permutations can give.
  double smallest_p() const noexcept { return smallest_p_; }

 private:
  at::Tensor values_;  // [B + 1, G] less the mean of the stratum's units
  double smallest_p_ = 0;
};

}  // namespace tierod::internal

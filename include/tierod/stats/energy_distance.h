#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "tierod/export.h"
#include "tierod/stats/permutation.h"

namespace tierod::stats {

/// Return the squared energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples of vectors,
/// Euclidean (Székely & Rizzo 2013, equation 6): 0 only for equal distributions, in the unit of the
/// rows. `scipy.stats.energy_distance` of one-dimensional samples is its square root.
///
/// @param rows    [n, d], any floating dtype
/// @param labels  0 or 1 a row [n]: which sample it belongs to
/// @throws InvalidArgument on wrong shapes, differing lengths, other labels or a single class.
/// @throws NumericalError if a row is not finite.
TIEROD_API double energy_distance(const at::Tensor& rows, std::span<const std::uint8_t> labels);

/// Test equality of the two distributions by the energy distance, permuting labels as
/// `permutation_test` does: between whole groups within strata. To permute labels within each
/// scene, make every row a group of its own and the scene its stratum.
///
/// The distances [n, n] are computed once, 512 rows at a time, and never kept; memory is 8 n
/// (permutations + 512) bytes.
/// @throws as `energy_distance` and the constructor of `GroupPermutation`.
TIEROD_API PermutationResult energy_distance_test(const at::Tensor& rows,
                                                  std::span<const std::uint8_t> labels,
                                                  std::span<const std::int64_t> groups,
                                                  std::span<const std::int64_t> strata = {},
                                                  const PermutationOptions& options = {});

}  // namespace tierod::stats

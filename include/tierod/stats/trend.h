#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tierod/export.h"

namespace tierod::stats {

enum class TrendMethod : std::uint8_t {
  automatic,  ///< exact where it costs little, else normal
  exact,      ///< the permutation distribution of the ranks within rows, ties included
  normal,     ///< normal approximation with the variance that the ties leave
};

struct TIEROD_API Trend {
  double statistic = 0;  ///< Page's L
  double p = 1;          ///< P(L >= observed) when order means nothing
  bool exact = false;
};

/// Test whether values rise along the columns, by Page's L (Page 1963, "Ordered hypotheses for
/// multiple treatments"): sum over rows i and columns j of j rank_ij. For a dose-response over
/// doses in ascending order, a row is one scene. For a falling trend negate the values.
///
/// @param values   [rows, columns] row-major
/// @param columns  number of ordered conditions, at least 3
/// @throws InvalidArgument if values are not rows of `columns`, with fewer than 3 columns or no
/// row,
///         if the exact method is asked for where it is too large (over 12 columns), or if every
///         row is constant.
/// @throws NumericalError if a value is not finite.
TIEROD_API Trend page_trend(std::span<const double> values, std::size_t columns,
                            TrendMethod method = TrendMethod::automatic);

}  // namespace tierod::stats
